"""A database for what must be sorted or counted and must not be held in memory."""

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from gradgate.errors import StoreError

_CACHE_KIB = 32 * 1024


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
