"""Which process a run belongs to, and whether that process still lives."""

import os
import socket
from dataclasses import dataclass
from typing import Self

import psutil


@dataclass(frozen=True)
class Process:
    """A process of some host, told from later ones with the same number by when it began.

    Attributes:
        host: Name of the host, and its namespace of process numbers: containers with the network
            of their host share its name, but do not see each other's processes.
        started: Seconds between the start of the host and its own, which a change of the clock
            leaves alone.
    """

    host: str
    pid: int
    started: float

    @classmethod
    def this(cls) -> Self:
        """The process that asks."""
        pid = os.getpid()
        return cls(_host(), pid, _started(pid))

    def is_gone(self) -> bool:
        """Whether it is known to have ended; of another host's nothing is known."""
        if self.host != _host():
            return False
        try:
            return _started(self.pid) != self.started
        except psutil.NoSuchProcess:
            return True
        except psutil.Error:
            return False


def _started(pid: int) -> float:
    return round(psutil.Process(pid).create_time() - psutil.boot_time(), 2)


def _host() -> str:
    name = socket.gethostname()
    try:
        return f"{name} {os.readlink('/proc/self/ns/pid')}"
    except OSError:  # not Linux
        return name
