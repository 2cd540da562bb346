"""The file of the score store: SQLite, opened by many, salvaged and replaced when it is damaged.

WAL mode needs shared memory, so the file must not lie on a network file system. Every commit is
forced to the disk, so that a loss of power too costs at most the batch that was being put.
"""

import json
import logging
import os
import re
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Self, TypeVar

from filelock import FileLock, Timeout

from gradgate.errors import StoreError
from gradgate.store.row import ScoreContext, decode

T = TypeVar("T")
_Row = tuple[bytes, int, object]

_APPLICATION_ID = 0x67726764  # "grgd"
_VERSION = 1
_TABLES = {
    b"contexts": b"CREATE TABLE contexts (id INTEGER PRIMARY KEY, fields TEXT NOT NULL)",
    b"scores": b"CREATE TABLE scores (context INTEGER NOT NULL, key BLOB NOT NULL, "
    b"used INTEGER NOT NULL, record BLOB NOT NULL, PRIMARY KEY (context, key)) WITHOUT ROWID",
}
_PAGE_BYTES = 4096
# SQLite quotes damaged tables in its messages, which are then no Unicode.
_UNREADABLE = (sqlite3.DatabaseError, UnicodeDecodeError)
_MAGIC = b"SQLite format 3\0"
_BUSY_SECONDS = 600  # another process may be packing a file of some GB
_LOCK_SECONDS = 600  # another process may be salvaging millions of rows
_CACHE_KIB = 16 * 1024
_WAL_BYTES = 64 * 2**20  # a longer one, of a large transaction, is cut when it was written back
_PREFIXES = 2**16  # of two bytes; about 15 keys of a million share one
_NO_ROOM = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR)
_NO_RIGHTS = (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM)
_BUSY = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)

_BESIDE = ("-wal", "-shm", "-journal")  # SQLite's other files of a database
_SET_ASIDE = re.compile(r"\.damaged-\d{8}T\d{12}(-wal|-journal)?")

_log = logging.getLogger(__name__)


class DamagedError(sqlite3.DatabaseError):
    """Damage that SQLite itself does not see."""

    sqlite_errorcode = sqlite3.SQLITE_CORRUPT


class StoreFile:
    """The open file, without a context; made when it is not there.

    Attributes:
        set_aside: Where the damaged file lies that this instance has replaced.
    """

    def __init__(self, path: Path, context: ScoreContext | None = None) -> None:
        """Open or make `path`; rows of `context` can be salvaged when no line describes it.

        Raises:
            StoreError: Not a score store, one of a newer version, or it cannot be written.
        """
        self.path = Path(os.path.realpath(path))  # a link shares the lock of its file
        self._part = _beside(self.path, ".part")
        self.set_aside: Path | None = None
        self._context = context
        self._connection, self._identity = self._open()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; a second time does nothing."""
        self._connection.close()

    def run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """What `work` returns; it is called again when the file turns out damaged or replaced.

        Raises:
            StoreError: The file cannot be read or written.
        """
        for _ in range(5):
            try:
                if self._is_moved():
                    self._reopen()
                result = work(self._connection)
            except _UNREADABLE as error:
                if not _is_damage(error):
                    with _errors(self.path):
                        raise
                self._reopen()
                continue
            # Another process may have replaced the file between the look and the commit.
            if not self._is_moved():
                return result
        raise StoreError(f"{self.path} is damaged again and again; is the disk in order?")

    def _is_moved(self) -> bool:
        return _identity(self.path) != self._identity

    def _reopen(self) -> None:
        """Follow the file that another process has put here, or replace the damaged one."""
        # SQLite leaves -wal and -shm alone when the file it has open is no longer at its path.
        self._connection.close()
        self._connection, self._identity = self._open(damaged=self._identity)

    def _open(
        self, damaged: tuple[int, int] | None = None
    ) -> tuple[sqlite3.Connection, tuple[int, int] | None]:
        with _errors(self.path), self._lock():
            self._finish_replacing()
            if damaged is not None and _identity(self.path) == damaged:
                self._replace()
            try:
                connection = _connect(self.path)
            except _UNREADABLE as error:
                if not _is_damage(error, opening=True):
                    raise
                self._replace()
                connection = _connect(self.path)
            return connection, _identity(self.path)

    def _lock(self) -> FileLock:
        """Held to open and to replace: nobody may open the file while it is replaced."""
        return FileLock(f"{self.path}.lock", timeout=_LOCK_SECONDS)

    def _replace(self) -> None:
        """Put a fresh file here, with every row of the damaged one that is whole."""
        if _is_foreign(self.path):
            raise _not_a_store(self.path)
        aside = self._new_aside()
        with closing(_plain_connection(self.path)) as damaged:
            _prepare_to_salvage(damaged)
            n_rows = self._make_part(damaged)
            self.path.rename(aside)
            self._put_part_in_place(aside)
        self.set_aside = aside
        _log.warning(
            "the score store %s was damaged; %d rows were saved, what is lost is scored again; "
            "the damaged file is %s, which nothing needs",
            self.path, n_rows, aside,
        )  # fmt: skip

    def _make_part(self, damaged: sqlite3.Connection) -> int:
        """Write the fresh file; it gets its name when it is whole and on the disk."""
        building = _beside(self.path, ".building")
        leftovers = (building, *(_beside(building, end) for end in _BESIDE))
        try:
            for leftover in leftovers:
                leftover.unlink(missing_ok=True)
            # Not in WAL mode, whose write-back at the end ignores a full disk.
            with closing(_plain_connection(building)) as fresh:
                fresh.execute("PRAGMA synchronous = FULL")
                fresh.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
                _create(fresh)
                n_pages = 1 + self.path.stat().st_size // _PAGE_BYTES
                n_rows = _salvage(damaged, fresh, self._context, n_pages)
            if any(leftover.exists() for leftover in leftovers[1:]):
                raise StoreError(f"{building} could not be written to its end")
            building.replace(self._part)
        except BaseException:
            for leftover in leftovers:
                leftover.unlink(missing_ok=True)
            raise
        return n_rows

    def _put_part_in_place(self, aside: Path) -> None:
        """Nothing that belongs to the damaged file may be there when the fresh one is."""
        for end in ("-wal", "-journal"):
            if _beside(self.path, end).exists():
                _beside(self.path, end).rename(_beside(aside, end))
        _beside(self.path, "-shm").unlink(missing_ok=True)
        self._part.replace(self.path)

    def _finish_replacing(self) -> None:
        """What a process that was killed while it replaced the file has left to do."""
        if not self._part.exists():
            return
        if self.path.exists():
            self._part.unlink()  # it is made again
            return
        self._put_part_in_place(self._new_aside())
        _log.warning(
            "the score store %s was damaged, and replacing it was interrupted; this is done now",
            self.path,
        )

    def _new_aside(self) -> Path:
        return _beside(self.path, f".damaged-{datetime.now(UTC):%Y%m%dT%H%M%S%f}")


def files_set_aside(path: Path) -> list[Path]:
    """The damaged files that were replaced by `path`, and what belongs to them."""
    start = len(path.name)
    return sorted(
        file
        for file in path.parent.iterdir()
        if file.name.startswith(path.name) and _SET_ASIDE.fullmatch(file.name[start:])
    )


@contextmanager
def transaction(connection: sqlite3.Connection, kind: str = "IMMEDIATE") -> Iterator[None]:
    """All or nothing; of the kind DEFERRED, to read one state of the file."""
    connection.execute(f"BEGIN {kind}")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:  # SQLite rolls back by itself when the disk is full
            connection.execute("ROLLBACK")
        raise


def contexts(connection: sqlite3.Connection) -> dict[int, ScoreContext]:
    """The contexts that the file describes, by their id; a damaged line is left out."""
    found = {}
    for number, fields in connection.execute("SELECT id, fields FROM contexts"):
        try:
            context = ScoreContext(**json.loads(fields))
        except (TypeError, ValueError):
            continue
        if context.id == number:
            found[context.id] = context
    return found


def add_context(connection: sqlite3.Connection, context: ScoreContext) -> None:
    """Describe a context; the newest description wins."""
    connection.execute(
        "INSERT INTO contexts VALUES (?, ?) "
        "ON CONFLICT DO UPDATE SET fields = excluded.fields WHERE fields IS NOT excluded.fields",
        (context.id, json.dumps(asdict(context))),
    )


def _plain_connection(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None)
    connection.text_factory = bytes  # damaged text is no error
    return connection


def _connect(path: Path) -> sqlite3.Connection:
    connection = _plain_connection(path)
    try:
        is_new = _check(connection, path)
        if connection.execute("PRAGMA journal_mode = WAL").fetchone()[0] != b"wal":
            raise StoreError(
                f"{path} lies on a file system without shared memory, such as a network's; "
                "keep the score store on a local disk"
            )
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        connection.execute(f"PRAGMA journal_size_limit = {_WAL_BYTES}")
        if is_new:
            _create(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _check(connection: sqlite3.Connection, path: Path) -> bool:
    """Whether the file is new; reads only, for it may be anybody's."""
    if path.exists() and 0 < path.stat().st_size < 512:  # the smallest page
        raise DamagedError("the header is cut off")
    application = connection.execute("PRAGMA application_id").fetchone()[0]
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if application == _APPLICATION_ID and version != _VERSION:
        raise StoreError(
            f"the score store {path} has version {version}, this gradgate knows {_VERSION}; "
            "update gradgate, or move the file away to start a new one"
        )
    if application not in (0, _APPLICATION_ID):
        raise _not_a_store(path)
    tables = dict(connection.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL"))
    if application == 0 and tables:
        raise _not_a_store(path)
    if tables and tables != _TABLES:
        raise DamagedError("the tables are not the ones of a score store")
    return not tables


def _create(connection: sqlite3.Connection) -> None:
    with transaction(connection):
        for statement in _TABLES.values():
            connection.execute(statement.decode())
        connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {_VERSION}")


def _prepare_to_salvage(damaged: sqlite3.Connection) -> None:
    # Read a file that was cut off as far as it goes.
    damaged.execute("PRAGMA writable_schema = ON")
    # Whoever still has the file open cannot commit to it until it is moved, and then notices.
    with _as_far_as_it_can_be_read():
        damaged.execute("BEGIN IMMEDIATE")


def _salvage(
    damaged: sqlite3.Connection,
    fresh: sqlite3.Connection,
    own: ScoreContext | None,
    n_pages: int,
) -> int:
    """Copy the rows that are whole, and those of contexts that no line describes; their number."""
    known = {} if own is None else {own.id: own}
    with _as_far_as_it_can_be_read():
        known |= contexts(damaged)
    n_before = fresh.total_changes
    with transaction(fresh):
        for number in sorted(known.keys() | _context_ids(damaged)):
            context = known.get(number)
            fresh.executemany(
                "INSERT OR IGNORE INTO scores VALUES (?, ?, ?, ?)",
                (
                    (number, key, used, record)
                    for key, used, record in _readable(damaged, number, n_pages)
                    if context is None or decode(context, key, record) is not None
                ),
            )
        n_rows = fresh.total_changes - n_before
        for context in known.values():
            add_context(fresh, context)
    return n_rows


def _context_ids(damaged: sqlite3.Connection) -> set[int]:
    """Ids of contexts, found from both ends as far as the file can be read."""
    found: set[int] = set()
    with _as_far_as_it_can_be_read():
        found.update(n for (n,) in damaged.execute("SELECT id FROM contexts"))
    for query, here, step in (
        ("SELECT min(context) FROM scores WHERE context > ?", -1, 1),
        ("SELECT max(context) FROM scores WHERE context < ?", 2**63 - 1, -1),
    ):
        with _as_far_as_it_can_be_read():
            while True:
                (number,) = damaged.execute(query, (here,)).fetchone()
                if not isinstance(number, int) or (number - here) * step <= 0:
                    break
                found.add(number)
                here = number
    return found


@contextmanager
def _as_far_as_it_can_be_read() -> Iterator[None]:
    try:
        yield
    except _UNREADABLE as error:
        _raise_unless_unreadable(error)


def _raise_unless_unreadable(error: sqlite3.DatabaseError | UnicodeDecodeError) -> None:
    """Rows are not lost because the disk is full, which SQLite needs to read too, or locked."""
    if isinstance(error, UnicodeDecodeError) or _is_damage(error):
        return
    if error.sqlite_errorcode & 0xFF in (*_NO_ROOM, *_BUSY):
        raise error


def _readable(damaged: sqlite3.Connection, context: int, n_pages: int) -> Iterator[_Row]:
    """The rows of a context; where reading fails, the keys are halved until they fill no page."""
    smallest = max(1, _PREFIXES // (4 * n_pages))
    # No more than a 256th of the rows is in memory.
    width = _PREFIXES // 256
    parts = [(low, low + width) for low in reversed(range(0, _PREFIXES, width))]
    while parts:
        low, high = parts.pop()
        rows: list[_Row] = []
        try:
            rows += damaged.execute(
                "SELECT key, used, record FROM scores WHERE context = ? AND key >= ? AND key < ?",
                (context, _prefix(low), _prefix(high)),
            )
        except _UNREADABLE as error:
            _raise_unless_unreadable(error)
            if high - low > smallest:
                middle = (low + high) // 2
                parts += [(middle, high), (low, middle)]
        yield from rows


def _prefix(number: int) -> bytes:
    """First bytes of the keys from here on; after the last number, more than any key."""
    return number.to_bytes(2, "big") if number < _PREFIXES else b"\xff" * 33


def _is_damage(error: sqlite3.DatabaseError | UnicodeDecodeError, opening: bool = False) -> bool:
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
        not _is_damage(error)
        and not isinstance(error, sqlite3.ProgrammingError)
        and error.sqlite_errorcode & 0xFF in (*_NO_ROOM, *_NO_RIGHTS, *_BUSY)
    )


def _is_foreign(path: Path) -> bool:
    """Whether this was never a score store; blank or cut off, it may have been.

    Only for a file that SQLite has refused, for closing a file drops SQLite's locks on it.
    """
    with path.open("rb") as file:
        head = file.read(100)
    if head[68:72] == _APPLICATION_ID.to_bytes(4, "big") or not any(head):
        return False
    return not (head.startswith(_MAGIC) or _MAGIC.startswith(head))


def _not_a_store(path: Path) -> StoreError:
    return StoreError(
        f"{path} is not a score store of gradgate and was left as it is; "
        "move it away, or name another file"
    )


@contextmanager
def _errors(path: Path) -> Iterator[None]:
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
                f"{_LOCK_SECONDS} s; run again"
            )
        case OSError():
            cure = "its folder must exist and be writable"
        case sqlite3.DatabaseError(sqlite_errorcode=code) if code & 0xFF in _NO_ROOM:
            cure = f"{kept}; free room on the disk (or in the quota) and run again"
        case sqlite3.DatabaseError(sqlite_errorcode=code) if code & 0xFF in _NO_RIGHTS:
            cure = "the file and its folder must be writable"
        case sqlite3.DatabaseError(sqlite_errorcode=code) if code & 0xFF in _BUSY:
            cure = f"{kept}; another process held it for {_BUSY_SECONDS} s, run again"
        case _:
            cure = kept
    return StoreError(f"the score store {path} cannot be used ({error}): {cure}")


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino


def _beside(path: Path, end: str) -> Path:
    return path.with_name(path.name + end)
