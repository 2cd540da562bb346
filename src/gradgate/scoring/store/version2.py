"""Files of version 2, whose rows are rewritten, in one transaction, when the file is opened.

Their records had fixed fields, and one version of the computation, `maths`, was part of the
context. A process of that version which has the file open still writes such rows; so do the
salvage's, where the line that describes their context is lost. They are rewritten when their
context is opened.
"""

import logging
import sqlite3
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from gradgate.common.json_values import parse_json
from gradgate.scoring.store.failures import DamagedError
from gradgate.scoring.store.record import Entries, Record
from gradgate.scoring.store.row import ScoreContext, decode, digest_of, encode, id_of, unsealed
from gradgate.scoring.store.schema import VERSION, add_context, transaction, version

_MATHS = 2  # of all signals; files of version 2 were written with no other
_BATCH_ROWS = 1_000
# status, which values are there, tokens, both entropies, evenness, loss, norm
_HEAD = struct.Struct("<BBq8s8s8s8s8s")
_SKETCH_BYTES = 512
_SKETCH, _REASON = 5, 6  # bits of what is there; those of the numbers come before
_FAILED = 1

Row = tuple[bytes, int, object]  # key, day of its last use, content

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class OldContext:
    """A context as version 2 knew it."""

    context: ScoreContext

    @cached_property
    def digest(self) -> bytes:
        """As `ScoreContext.digest` was."""
        return digest_of(*self.context.deciding, _MATHS)

    @property
    def id(self) -> int:
        """As `ScoreContext.id` was."""
        return id_of(self.digest)

    def decoded(self, key: bytes, content: object) -> Record | None:
        """The record of a row; None when it is damaged."""
        body = unsealed(self.digest, key, content)
        return None if body is None else _record(body)


def _record(body: bytes) -> Record | None:
    if len(body) < _HEAD.size:
        return None
    status, there, n_target_tokens, *numbers = _HEAD.unpack_from(body)
    if not 0 <= n_target_tokens < 2**32:
        return None
    end = _HEAD.size + (_SKETCH_BYTES if there >> _SKETCH & 1 else 0)
    values = [*numbers, body[_HEAD.size : end]]
    entries: Entries = {
        (number, _MATHS): value if there >> number - 1 & 1 else b""
        for number, value in enumerate(values, 1)
    }
    reason: Entries = {(0, 0): body[end:]} if there >> _REASON & 1 else {}
    if status != _FAILED:
        return Record(n_target_tokens, entries | reason, None)
    return Record(n_target_tokens, {}, {i: v for i, v in entries.items() if v} | reason)


def old_contexts(connection: sqlite3.Connection) -> dict[int, OldContext]:
    """The contexts that lines of version 2 describe, by their id."""
    found = {}
    for number, fields in connection.execute("SELECT id, fields FROM contexts"):
        try:
            values = parse_json(fields)
            del values["maths"]
            old = OldContext(ScoreContext(**values))
        except (TypeError, ValueError, KeyError):
            continue
        if old.id == number:
            found[old.id] = old
    return found


def migrate(connection: sqlite3.Connection, path: Path, own: ScoreContext | None) -> int:
    """Rewrite the rows of version 2 whose context is known, all of them or none.

    Returns:
        Number of damaged rows, which were removed.
    """
    if not _is_due(connection, own):
        return 0
    _log.warning(
        "rows of the score store %s are rewritten for this version of gradgate; "
        "older versions refuse the file from now on",
        path,
    )
    n_rows = n_lost = 0
    with transaction(connection):
        if _is_due(connection, own):  # another process may have been faster
            known = [] if own is None else [OldContext(own)]
            for old in (*known, *old_contexts(connection).values()):
                rewritten, lost = _rewrite(connection, old)
                n_rows, n_lost = n_rows + rewritten, n_lost + lost
            connection.execute(f"PRAGMA user_version = {VERSION}")
    level = logging.WARNING if n_lost else logging.INFO
    _log.log(level, "%d rows of %s were kept, %d damaged ones were removed", n_rows, path, n_lost)
    return n_lost


def _is_due(connection: sqlite3.Connection, own: ScoreContext | None) -> bool:
    if version(connection) < VERSION or old_contexts(connection):
        return True
    if own is None:
        return False
    query = "SELECT 1 FROM scores WHERE context = ? LIMIT 1"
    return connection.execute(query, (OldContext(own).id,)).fetchone() is not None


def _rewrite(connection: sqlite3.Connection, old: OldContext) -> tuple[int, int]:
    """Rewrite the rows of a context; how many, and how many were damaged."""
    n_rows = n_lost = 0
    for rows in _taken(connection, old.id):
        n_whole = put_rewritten(connection, old, rows)
        n_rows, n_lost = n_rows + n_whole, n_lost + len(rows) - n_whole
    connection.execute("DELETE FROM contexts WHERE id = ?", (old.id,))
    if n_rows:
        add_context(connection, old.context)
    return n_rows, n_lost


def put_rewritten(connection: sqlite3.Connection, old: OldContext, rows: Iterable[Row]) -> int:
    """Write rows of version 2 as they are written now, joined with what is there; their number.

    Damaged ones are left out.
    """
    n_rows = 0
    for key, used, content in rows:
        record = old.decoded(key, content)
        if record is None:
            continue
        fresh = encode(old.context, key, _joined(connection, old.context, key, record))
        connection.execute(
            "INSERT INTO scores VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE "
            "SET used = max(used, excluded.used), record = excluded.record",
            (old.context.id, key, used, fresh),
        )
        n_rows += 1
    return n_rows


def _joined(
    connection: sqlite3.Connection, context: ScoreContext, key: bytes, record: Record
) -> Record:
    """The stored record with what `record` adds to it, whose failure adds nothing."""
    query = "SELECT record FROM scores WHERE context = ? AND key = ?"
    found = connection.execute(query, (context.id, key)).fetchone()
    stored = None if found is None else decode(context, key, found[0])
    if stored is None:
        return record
    return stored if record.failure is not None else stored.joined(record)


def _taken(connection: sqlite3.Connection, number: int) -> Iterator[list[Row]]:
    """Rows of a context, which are removed: their room is used again by what is written next."""
    query = "SELECT key, used, record FROM scores WHERE context = ? ORDER BY key LIMIT ?"
    while rows := connection.execute(query, (number, _BATCH_ROWS)).fetchall():
        gone = connection.execute(
            "DELETE FROM scores WHERE context = ? AND key <= ?", (number, rows[-1][0])
        )
        if gone.rowcount != len(rows):
            raise DamagedError("the keys are not in order")
        yield rows
