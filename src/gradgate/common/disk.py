"""Room on a disk, asked for before the work that would fill it."""

import shutil
from pathlib import Path

from gradgate.errors import ConfigError

_SPARE = 32 * 2**20  # bytes, for the small files beside what is asked for


def require_space(folder: Path, n_bytes: int, what: str) -> None:
    """Refuse to begin what a disk has no room for.

    Args:
        folder: Where it will be written; it need not be there yet.
        n_bytes: Its size, at least.
        what: What is written, for the message.

    Raises:
        ConfigError: Less is free, or nothing can be asked there.
    """
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    try:
        free = shutil.disk_usage(there).free
    except OSError as error:
        raise ConfigError(f"the disk of {there} does not answer: {error.strerror}") from error
    needed = n_bytes + _SPARE
    if free < needed:
        raise ConfigError(
            f"{what} will take at least {needed / 2**20:,.0f} MiB in {there}, and "
            f"{free / 2**20:,.0f} MiB are free; free some, or write to another disk"
        )


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files below a folder; 0 where nothing is."""
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())
