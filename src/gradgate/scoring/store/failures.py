"""What an error of SQLite says of the score store: damage, no room, no rights or a busy file."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import Timeout

from gradgate.errors import StoreError

# SQLite quotes damaged tables in its messages, which are then no Unicode.
UNREADABLE = (sqlite3.DatabaseError, UnicodeDecodeError)
BUSY_SECONDS = 600  # another process may be packing a file of some GB
LOCK_SECONDS = 600  # another process may be salvaging millions of rows
NO_ROOM = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR)
_NO_RIGHTS = (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM)
BUSY = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


class DamagedError(sqlite3.DatabaseError):
    """Damage that SQLite itself does not see."""

    sqlite_errorcode = sqlite3.SQLITE_CORRUPT


def is_damage(error: sqlite3.DatabaseError | UnicodeDecodeError, opening: bool = False) -> bool:
    """Errors that say that the content of the file is wrong."""
    if isinstance(error, UnicodeDecodeError):
        return True
    if isinstance(error, sqlite3.ProgrammingError):
        return False
    if error.sqlite_errorcode in (sqlite3.SQLITE_IOERR_READ, sqlite3.SQLITE_IOERR_SHORT_READ):
        return True
    codes = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_TOOBIG}
    if opening:
        codes.add(sqlite3.SQLITE_ERROR)  # an impossible header, for the statements are right
    return error.sqlite_errorcode & 0xFF in codes


def is_only_unwritable(error: sqlite3.DatabaseError) -> bool:
    """Whether it cannot be written now, and nothing is wrong with what is stored."""
    return (
        not is_damage(error)
        and not isinstance(error, sqlite3.ProgrammingError)
        and error.sqlite_errorcode & 0xFF in (*NO_ROOM, *_NO_RIGHTS, *BUSY)
    )


class NotAStoreError(StoreError):
    """A file that is somebody else's, or whose first page is lost."""


def not_a_store(path: Path) -> NotAStoreError:
    """The refusal of such a file."""
    return NotAStoreError(
        f"{path} is not a score store of gradgate and was left as it is; "
        "move it away, or name another file"
    )


@contextmanager
def errors(path: Path) -> Iterator[None]:
    """Errors of the file become `StoreError`, with what to do; wrong calls of SQLite stay."""
    try:
        yield
    except sqlite3.ProgrammingError:
        raise
    except (sqlite3.DatabaseError, OSError) as error:
        raise _explained(path, error) from error


def _explained(path: Path, error: sqlite3.DatabaseError | OSError) -> StoreError:
    kept = "what was stored before is kept"
    match error:
        case Timeout():
            return StoreError(
                f"the score store {path} cannot be used: another process has been mending it for "
                f"{LOCK_SECONDS} s; run again"
            )
        case OSError():
            cure = "its folder must exist and be writable"
        case sqlite3.DatabaseError(sqlite_errorcode=code) if code & 0xFF in NO_ROOM:
            cure = f"{kept}; free room on the disk (or in the quota) and run again"
        case sqlite3.DatabaseError(sqlite_errorcode=code) if code & 0xFF in _NO_RIGHTS:
            cure = "the file and its folder must be writable"
        case sqlite3.DatabaseError(sqlite_errorcode=code) if code & 0xFF in BUSY:
            cure = f"{kept}; another process held it for {BUSY_SECONDS} s, run again"
        case _:
            cure = kept
    return StoreError(f"the score store {path} cannot be used ({error}): {cure}")
