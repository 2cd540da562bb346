"""Which process a run belongs to, and whether that process still lives."""

import json
import os
import socket
from dataclasses import dataclass
from typing import Self

import psutil

from gradgate.common.run_folder import RunFolder


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

    def as_text(self) -> str:
        """In one line, for a tag or the environment."""
        return f"{self.pid} {self.started} {self.host}"

    @classmethod
    def from_text(cls, text: str) -> Self | None:
        """What `as_text` wrote; None of anything else."""
        try:
            pid, started, host = text.split(" ", 2)
            return cls(host, int(pid), float(started))
        except ValueError:
            return None

    def is_of_this_host(self) -> bool:
        """Whether it can be seen from here."""
        return self.host == _host()

    def is_gone(self) -> bool:
        """Whether it is known to have ended; of another host's nothing is known."""
        if not self.is_of_this_host():
            return False
        try:
            return _started(self.pid) != self.started
        except psutil.NoSuchProcess:
            return True
        except psutil.Error:
            return False


def owner_of(folder: RunFolder) -> Process | None:
    """The process that builds a folder, as its run.json says; None when it is not known."""
    try:
        owner = json.loads(folder.tracked.read_text(encoding="utf-8"))["owner"]
        return Process(str(owner["host"]), int(owner["pid"]), float(owner["started"]))
    except (OSError, ValueError, KeyError, TypeError):  # or a folder of an earlier version
        return None


def _started(pid: int) -> float:
    return round(psutil.Process(pid).create_time() - psutil.boot_time(), 2)


def _host() -> str:
    name = socket.gethostname()
    try:
        return f"{name} {os.readlink('/proc/self/ns/pid')}"
    except OSError:  # not Linux
        return name
