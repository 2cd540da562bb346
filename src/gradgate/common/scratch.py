"""Room on disk for what must be sorted or counted, or is large, and must not be held in memory."""

import math
import os
import sqlite3
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from gradgate.errors import StoreError

IN_MEMORY = 1 << 26  # values of an array that is not put on disk
_CACHE_KIB = 32 * 1024
T = TypeVar("T", bound=np.generic)


@contextmanager
def scratch_database() -> Iterator[sqlite3.Connection]:
    """An empty SQLite database in a file without a name, which is gone when it is closed.

    The file lies in `$SQLITE_TMPDIR`, `$TMPDIR` or /var/tmp. Rows are best appended and sorted by
    a `GROUP BY`, which merges sorted runs on disk: inserting into an index in random order takes
    twice as long for a million rows, and far longer when the index outgrows the cache.

    Raises:
        StoreError: The disk is full.
    """
    # No isolation level: one transaction, so that what fits into the cache is never written.
    # Threads may take turns.
    database = sqlite3.connect("", isolation_level=None, check_same_thread=False)
    try:
        for pragma in ("journal_mode=OFF", "temp_store=FILE", f"cache_size=-{_CACHE_KIB}"):
            database.execute(f"PRAGMA {pragma}")
        database.execute("BEGIN")
        yield database
    except sqlite3.Error as error:
        raise StoreError(
            f"cannot sort on disk: {error}; is there room in $SQLITE_TMPDIR, $TMPDIR or /var/tmp?"
        ) from error
    finally:
        database.close()


def count_distinct(ids: Iterable[str]) -> int:
    """Count the different ones among hexadecimal ids."""
    with scratch_database() as database:
        database.execute("CREATE TABLE ids (id BLOB)")
        rows = ((bytes.fromhex(identifier),) for identifier in ids)
        database.executemany("INSERT INTO ids VALUES (?)", rows)
        query = "SELECT count(*) FROM (SELECT 1 FROM ids GROUP BY id)"
        return int(database.execute(query).fetchone()[0])


def roomy(n: int, dtype: type[T]) -> npt.NDArray[T]:
    """An array for n values: in memory, or, where it is large, on disk as `on_disk` has it.

    Raises:
        StoreError: The disk is full.
    """
    return np.empty(n, dtype) if n <= IN_MEMORY else on_disk((n,), dtype)


def on_disk(shape: tuple[int, ...], dtype: type[T]) -> npt.NDArray[T]:
    """An array of zeros in a file without a name, which is gone with the array.

    The file lies in `$SQLITE_TMPDIR`, `$TMPDIR` or /var/tmp, as that of `scratch_database` does.

    Raises:
        StoreError: The disk is full. It is taken at once: a write to a mapped file that finds no
            room would kill the process.
    """
    folder = os.environ.get("SQLITE_TMPDIR") or os.environ.get("TMPDIR") or "/var/tmp"
    n_bytes = np.dtype(dtype).itemsize * math.prod(shape)
    if not n_bytes:
        return np.zeros(shape, dtype)
    with tempfile.TemporaryFile(dir=folder) as file:
        try:
            os.posix_fallocate(file.fileno(), 0, n_bytes)
        except OSError as error:
            raise StoreError(
                f"{n_bytes / 2**30:.1f} GiB do not fit into {folder}: {error}; free some, or let "
                "$SQLITE_TMPDIR or $TMPDIR name a folder with more room"
            ) from error
        return np.memmap(file, dtype, "r+", shape=shape)
