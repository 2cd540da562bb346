"""Signals that end a process end it as an exception does, so that nothing is left behind."""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

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


@contextmanager
def undisturbed() -> Iterator[None]:
    """Put off Ctrl-C and the signals of `exit_on_signals` until the block is over.

    It is for what tidies up: a second Ctrl-C would break that off and leave the rest behind. A
    signal that came in the meantime is raised at the end of the block. Python raises none outside
    of the main thread, and there nothing is put off.
    """
    late: list[int] = []
    handlers: dict[int, Any] = {}
    is_main = threading.current_thread() is threading.main_thread()
    try:
        for name in ("SIGINT", *_ENDING) if is_main else ():
            number = getattr(signal, name, None)
            if number is not None and callable(handler := signal.getsignal(number)):
                handlers[number] = handler
                signal.signal(number, lambda heard, frame: late.append(heard))
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        if late:
            signal.raise_signal(late[0])


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
