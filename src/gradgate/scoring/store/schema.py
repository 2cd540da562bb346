"""The format of the score store's file: what marks it as ours, its tables, and its contexts."""

import json
import logging
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gradgate.common.json_values import parse_json
from gradgate.errors import StoreError
from gradgate.scoring.store.failures import BUSY_SECONDS, DamagedError, not_a_store
from gradgate.scoring.store.row import ScoreContext

_APPLICATION_ID = 0x67726764  # "grgd"
VERSION = 3
_MIGRATED = 2  # its rows are rewritten (`store.version2`)
_OUTDATED = 1  # its rows lack most of a score
_TABLES = {
    b"contexts": b"CREATE TABLE contexts (id INTEGER PRIMARY KEY, fields TEXT NOT NULL)",
    b"scores": b"CREATE TABLE scores (context INTEGER NOT NULL, key BLOB NOT NULL, "
    b"used INTEGER NOT NULL, record BLOB NOT NULL, PRIMARY KEY (context, key)) WITHOUT ROWID",
}
_MAGIC = b"SQLite format 3\0"
CACHE_KIB = 16 * 1024
_WAL_BYTES = 64 * 2**20  # a longer one, of a large transaction, is cut when it was written back

_log = logging.getLogger(__name__)


def plain_connection(path: Path) -> sqlite3.Connection:
    """Without a look at what the file is."""
    connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None)
    connection.text_factory = bytes  # damaged text is no error
    return connection


def connect(path: Path) -> sqlite3.Connection:
    """Open a score store; an empty file, or one that is not there, becomes one.

    One of version 2 is opened as it is.
    """
    connection = plain_connection(path)
    try:
        is_new = _check(connection, path)
        if is_outdated(connection):
            _empty(connection, path)
        if connection.execute("PRAGMA journal_mode = WAL").fetchone()[0] != b"wal":
            raise StoreError(
                f"{path} lies on a file system without shared memory, such as a network's; "
                "keep the score store on a local disk"
            )
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
        connection.execute(f"PRAGMA journal_size_limit = {_WAL_BYTES}")
        if is_new:
            create(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _check(connection: sqlite3.Connection, path: Path) -> bool:
    """Whether the file is new; reads only, for it may be anybody's."""
    if path.exists() and 0 < path.stat().st_size < 512:  # the smallest page
        raise DamagedError("the header is cut off")
    application = connection.execute("PRAGMA application_id").fetchone()[0]
    found = version(connection)
    if application == _APPLICATION_ID and found not in (_OUTDATED, _MIGRATED, VERSION):
        raise StoreError(
            f"the score store {path} has version {found}, this gradgate knows {VERSION}; "
            "update gradgate, or move the file away to start a new one"
        )
    if application not in (0, _APPLICATION_ID):
        raise not_a_store(path)
    tables = dict(connection.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL"))
    if application == 0 and tables:
        raise not_a_store(path)
    if tables and tables != _TABLES:
        raise DamagedError("the tables are not the ones of a score store")
    return not tables


def is_outdated(connection: sqlite3.Connection) -> bool:
    """Whether the file is of a version whose rows are of no use any more."""
    return version(connection) == _OUTDATED


def version(connection: sqlite3.Connection) -> int:
    """Of the file's format; 0 for a new one."""
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _empty(connection: sqlite3.Connection, path: Path) -> None:
    """Make a file of the outdated version one of this version, without its rows."""
    with transaction(connection):
        if not is_outdated(connection):  # another process was faster
            return
        (n_rows,) = connection.execute("SELECT count(*) FROM scores").fetchone()
        for table in _TABLES:
            connection.execute(f"DELETE FROM {table.decode()}")
        connection.execute(f"PRAGMA user_version = {VERSION}")
    _log.warning(
        "%d rows of %s lack the signals that are computed now; they were dropped, and what is "
        "needed of them is scored again",
        n_rows,
        path,
    )


def is_foreign(path: Path) -> bool:
    """Whether this was never a score store; blank or cut off, it may have been.

    Only for a file that SQLite has refused, for closing a file drops SQLite's locks on it.
    """
    with path.open("rb") as file:
        head = file.read(100)
    if head[68:72] == _APPLICATION_ID.to_bytes(4, "big") or not any(head):
        return False
    return not (head.startswith(_MAGIC) or _MAGIC.startswith(head))


def create(connection: sqlite3.Connection) -> None:
    """Make the tables, and mark the file as a score store."""
    with transaction(connection):
        for statement in _TABLES.values():
            connection.execute(statement.decode())
        connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {VERSION}")


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
            context = ScoreContext(**parse_json(fields))
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
        (context.id, json.dumps(context.described)),
    )
