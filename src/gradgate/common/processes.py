"""Which process a run belongs to, and whether that process still lives."""

import hashlib
import os
import re
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import psutil

from gradgate.common.json_values import parse_json
from gradgate.common.run_folder import RunFolder

# Of every kernel's first processes, so that a machine is told by what outlives its restart.
_FIRST_NAMESPACE = "pid:[4026531836]"
_NAMESPACE = "/proc/self/ns/pid"
_MACHINE_IDS = ("/etc/machine-id", "/var/lib/dbus/machine-id")
_BOOT_ID = "/proc/sys/kernel/random/boot_id"
_ID = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True)
class Process:
    """A process of some host, told from later ones with the same number by when it began.

    Attributes:
        host: Name of the host, its namespace of process numbers, and its machine: containers with
            the network of their host share its name, but do not see each other's processes, and
            the hosts of a cluster may all have one name.
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
        owner = parse_json(folder.tracked.read_text(encoding="utf-8"))["owner"]
        return Process(str(owner["host"]), int(owner["pid"]), float(owner["started"]))
    except (OSError, ValueError, KeyError, TypeError):  # or a folder of an earlier version
        return None


def _started(pid: int) -> float:
    return round(psutil.Process(pid).create_time() - psutil.boot_time(), 2)


def machine() -> str:
    """Which machine this is, in a word; nothing where it cannot be known.

    A container may have an id of its image, which others have too: it is told by the machine's
    last start. An id is not told to others, so its digest is.
    """
    is_container = _namespace() not in ("", _FIRST_NAMESPACE)
    places = (_BOOT_ID,) if is_container else (*_MACHINE_IDS, _BOOT_ID)
    known = next(filter(None, map(_id_in, places)), None)
    return "" if known is None else hashlib.sha256(f"gradgate {known}".encode()).hexdigest()[:12]


def _id_in(path: str) -> str | None:
    try:
        text = Path(path).read_text(encoding="ascii").strip().replace("-", "")
    except (OSError, UnicodeDecodeError):
        return None
    return text if _ID.fullmatch(text) else None  # `uninitialized` is none


def _host() -> str:
    return " ".join(filter(None, [socket.gethostname(), _namespace(), machine()]))


def _namespace() -> str:
    try:
        return os.readlink(_NAMESPACE)
    except OSError:  # not Linux
        return ""
