"""Folders of a test process."""

import atexit
import os
import shutil
import tempfile
from pathlib import Path

import psutil

_MEMORY = Path("/dev/shm")
_ROOM = 6 << 30  # bytes that have to be free


def in_memory() -> str | None:
    """A folder in memory with room for a run of the tests; None where there is none.

    A disk takes milliseconds to force a file to it or to remove a folder, and tests do both often.
    """
    if not (_MEMORY.is_dir() and os.access(_MEMORY, os.W_OK)):
        return None
    room = min(shutil.disk_usage(_MEMORY).free, psutil.virtual_memory().available)
    return str(_MEMORY) if room >= _ROOM else None


def own_folder() -> str:
    """Make one that goes away with this process, and not with those that are forked from it."""
    path, owner = tempfile.mkdtemp(prefix="gradgate-tests-", dir=in_memory()), os.getpid()

    def remove() -> None:
        if os.getpid() == owner:
            shutil.rmtree(path, ignore_errors=True)

    atexit.register(remove)
    return path
