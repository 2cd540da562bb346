"""Folders of a test process."""

import atexit
import os
import shutil
import tempfile


def own_folder() -> str:
    """Make one that goes away with this process, and not with those that are forked from it."""
    path, owner = tempfile.mkdtemp(prefix="gradgate-tests-"), os.getpid()

    def remove() -> None:
        if os.getpid() == owner:
            shutil.rmtree(path, ignore_errors=True)

    atexit.register(remove)
    return path
