"""Signals that end a process end it as an exception does, so that nothing is left behind."""

import signal
import sys
from types import FrameType

_ENDING = ("SIGTERM", "SIGHUP")  # as far as the system knows them


def exit_on_signals() -> None:
    """Let a signal end the process as SystemExit, with the code that a shell gives (128 + n).

    By default the process would die at once: temporary folders and servers would stay.
    """
    for name in _ENDING:
        number = getattr(signal, name, None)
        if number is not None:
            signal.signal(number, _exit)


def _exit(number: int, frame: FrameType | None) -> None:
    sys.exit(128 + number)
