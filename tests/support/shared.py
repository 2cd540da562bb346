"""What takes long to make is made once in a run of the tests, whichever process needs it first."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock


def shared_folder(factory: pytest.TempPathFactory) -> Path:
    """A folder of the run; with xdist its processes have it in common."""
    base = factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """A folder that `make` fills, for all processes of the run; nobody may write into it later."""
    folder = shared_folder(factory) / name
    with FileLock(f"{folder}.lock"):
        if not folder.exists():
            part = folder.with_name(f"{name}.part")  # left behind by an attempt that failed
            part.mkdir(exist_ok=True)
            make(part)
            part.rename(folder)
    return folder
