"""Files and folders that are whole or not there: written aside, forced to the disk, renamed."""

import errno
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from gradgate.common.signals import undisturbed


def aside(path: Path, ending: str = ".part") -> Path:
    """Where a file or folder is built before it gets its name.

    What is there is removed before and afterwards, so the name is one that nobody else gives.
    """
    return path.with_name(f".{path.name}.gradgate{ending}")


def own_aside(path: Path) -> Path:
    """The same where several processes, threads or hosts may build it at the same time."""
    return aside(path, f".{uuid4().hex}.part")


@contextmanager
def written_whole(path: Path, part: Path | None = None, is_new: bool = False) -> Iterator[Path]:
    """A path to write to, which becomes `path` when the block ends well and vanishes otherwise.

    Args:
        path: Replaced when it is there.
        part: Instead of `aside(path)`, such as `own_aside(path)`.
        is_new: It must not be there; of several at the same time the first one gets the name.

    Raises:
        FileExistsError: It is there, and must not be.
    """
    part = part or aside(path)
    try:
        yield part
        if is_new:
            _put_first(part, path)
        else:
            put_in_place(part, path)
    finally:
        with undisturbed():
            part.unlink(missing_ok=True)


@contextmanager
def folder_written_whole(path: Path) -> Iterator[Path]:
    """A fresh folder to fill, which becomes `path` when the block ends well and vanishes otherwise.

    Raises:
        OSError: The folder cannot be made, or `path` is a folder that is not empty.
    """
    part = aside(path)
    shutil.rmtree(part, ignore_errors=True)  # of a process that was killed
    part.mkdir(parents=True)
    try:
        yield part
        put_in_place(part, path)
    except BaseException:
        with undisturbed():
            shutil.rmtree(part, ignore_errors=True)
        raise


@contextmanager
def work_folder(output: Path) -> Iterator[Path]:
    """A folder beside the output that is thrown away."""
    folder = aside(output, ".work")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    try:
        yield folder
    finally:
        with undisturbed():
            shutil.rmtree(folder)


@contextmanager
def temporary_folder(prefix: str, parent: Path | None = None, suffix: str = "") -> Iterator[Path]:
    """A folder of a name of its own that is thrown away.

    Args:
        prefix: Of its name.
        parent: Where it lies; by default where temporary files do.
        suffix: Of its name.

    Raises:
        OSError: It cannot be made.
    """
    folder = Path(tempfile.mkdtemp(suffix, prefix, parent))
    try:
        yield folder
    finally:
        with undisturbed():
            shutil.rmtree(folder)


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's content, in hex.

    Raises:
        OSError: It cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def put_in_place(part: Path, path: Path) -> None:
    """Force `part`, a file or a folder, to the disk, and give it its name.

    A loss of power leaves the old file or the new one, never a name without its content.
    """
    for written in (*part.rglob("*"), part) if part.is_dir() else (part,):
        if not written.is_symlink():
            sync(written)
    part.replace(path)
    sync(path.parent)


def _put_first(part: Path, path: Path) -> None:
    """As `put_in_place`, of a file that nobody else may have given the name."""
    sync(part)
    try:
        os.link(part, path)
    except FileExistsError:
        raise
    except OSError:  # a disk that knows no links
        if path.exists():
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path)) from None
        part.replace(path)
    sync(path.parent)


def sync(path: Path) -> None:
    """Force a file, or the names in a folder, to the disk."""
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)
