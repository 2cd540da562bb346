"""Signals that end a process end it as an exception does, so that nothing is left behind."""

import os
import signal
import sys
import threading
from types import FrameType

_ENDING = ("SIGTERM", "SIGHUP")  # as far as the system knows them
_PAUSE = 0.1  # seconds, in which a destructor ends


def exit_on_signals() -> None:
    """Let a signal end the process as SystemExit, with the code that a shell gives (128 + n).

    By default the process would die at once: temporary folders and servers would stay. A signal
    that is ignored, as SIGHUP is under nohup, stays so.
    """
    for name in _ENDING:
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _exit)
    sys.unraisablehook = _send_again


def _exit(number: int, frame: FrameType | None) -> None:
    sys.exit(128 + number)


def _send_again(lost: "sys.UnraisableHookArgs") -> None:
    """Send a signal again whose SystemExit Python dropped, in a destructor or a callback."""
    error = lost.exc_value
    if not isinstance(error, SystemExit) or not isinstance(error.code, int) or error.code <= 128:
        sys.__unraisablehook__(lost)
        return
    again = threading.Timer(_PAUSE, os.kill, (os.getpid(), error.code - 128))
    again.daemon = True
    again.start()
