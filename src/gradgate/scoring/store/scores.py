"""The score store: scores that were computed before, found again by what decides them.

A row is believed only when its own checksum is right, over the context, the sample's digest and
the exact bits of the values. What is damaged is thrown away and scored again, so that damage costs
time and never makes a score wrong.
"""

import logging
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

from gradgate.gradients.score import Score
from gradgate.scoring.store.failures import is_only_unwritable
from gradgate.scoring.store.file import StoreFile
from gradgate.scoring.store.record import Record
from gradgate.scoring.store.row import ScoreContext, decode, encode
from gradgate.scoring.store.schema import add_context, contexts, transaction

__all__ = ["ScoreContext", "ScoreStore", "today"]

_KEYS_PER_QUERY = 500
_ROW_BYTES = 60  # of a page, for a row besides its record (measured)
_USABLE_BYTES = 4084  # of a page
# SQLite moves a longer record onto pages of its own, but for its beginning.
_MAX_INSIDE, _BEGINNING, _PAGE_BYTES, _LINK_BYTES = 950, 440, 4096, 4

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Row:
    """`record` is None when the row is damaged."""

    key: bytes
    used: int
    content: object
    record: Record | None


class ScoreStore(StoreFile):
    """The scores of one context.

    Attributes:
        n_damaged: Damaged rows that `get` has met and removed.
    """

    def __init__(self, path: Path, context: ScoreContext) -> None:
        """Open or make the file, which other processes may have open too.

        Raises:
            StoreError: Not a score store, one of a newer version, or it cannot be written.
        """
        super().__init__(path, context)
        self.context = context
        self.n_damaged = 0
        self._could_mark = True

    def get(self, keys: Sequence[bytes]) -> dict[bytes, Score]:
        """The stored scores of `keys`, those of status `failed` too.

        A sample that lacks a signal, or has only an older version of it, is not among them.

        Raises:
            StoreError: The file cannot be read or written.
        """
        rows = self.run(lambda connection: self._read_and_mark(connection, keys))
        damaged = sum(row.record is None for row in rows)
        if damaged and not self.n_damaged:
            _log.warning(
                "damaged rows were removed from the score store %s; they are scored again, and "
                "`gradgate cache verify` looks for more",
                self.path,
            )
        self.n_damaged += damaged
        is_probed = self.context.is_probed
        found = ((row.key, row.record.score(is_probed)) for row in rows if row.record is not None)
        return {key: score for key, score in found if score is not None}

    def put(self, scores: Mapping[bytes, Score]) -> None:
        """Keep scores, all or none. Stored signals stay; missing ones are put beside them.

        A stored failure is replaced.

        Raises:
            StoreError: The file cannot be written, such as when the disk is full.
            ValueError: A score of status `scored` has a value that is missing or not finite.
        """
        if scores:
            is_probed = self.context.is_probed
            records = {key: Record.of(score, is_probed) for key, score in scores.items()}
            self.run(lambda connection: self._write(connection, records))

    def evict(self, max_bytes: int) -> int:
        """Remove the rows of any context that were not used for longest, until the rest fits.

        The file does not shrink, but grows no more until the room is filled again.

        Returns:
            Number of rows removed.
        """

        def work(connection: sqlite3.Connection) -> int:
            if _live_bytes(connection) <= max_bytes:
                return 0
            with transaction(connection):
                doomed = excess(connection, max_bytes)
                delete(connection, doomed)
            return sum(n_rows for _, n_rows in doomed)

        return self.run(work)

    def _read(self, connection: sqlite3.Connection, keys: Sequence[bytes]) -> Iterator[_Row]:
        """The rows of `keys`, in the order of the file, in which neighbours share pages."""
        wanted = sorted(set(keys))
        for start in range(0, len(wanted), _KEYS_PER_QUERY):
            part = wanted[start : start + _KEYS_PER_QUERY]
            marks = ",".join("?" * len(part))
            for key, used, content in connection.execute(
                f"SELECT key, used, record FROM scores WHERE context = ? AND key IN ({marks})",
                (self.context.id, *part),
            ):
                yield _Row(key, used, content, decode(self.context, key, content))

    def _read_and_mark(self, connection: sqlite3.Connection, keys: Sequence[bytes]) -> list[_Row]:
        rows = list(self._read(connection, keys))
        if rows:
            try:
                self._mark(connection, rows)
            except sqlite3.DatabaseError as error:
                if not is_only_unwritable(error):
                    raise
                if self._could_mark:
                    _log.warning("rows of %s cannot be marked as used: %s", self.path, error)
                self._could_mark = False
        return rows

    def _mark(self, connection: sqlite3.Connection, rows: Sequence[_Row]) -> None:
        """Remove damaged rows, note the use of the others, describe their context if need be."""
        damaged = [(self.context.id, row.key, row.content) for row in rows if row.record is None]
        day = today()
        old = [(day, self.context.id, row.key) for row in rows if row.record and row.used != day]
        is_lost = len(damaged) < len(rows) and self.context.id not in contexts(connection)
        if damaged or old or is_lost:
            with transaction(connection):
                remove(connection, damaged)
                connection.executemany(
                    "UPDATE scores SET used = ? WHERE context = ? AND key = ?", old
                )
                if is_lost:
                    add_context(connection, self.context)

    def _write(self, connection: sqlite3.Connection, records: Mapping[bytes, Record]) -> None:
        day = today()
        with transaction(connection):
            add_context(connection, self.context)
            stored = {row.key: row.record for row in self._read(connection, list(records))}
            rows = []
            for key in sorted(records):
                before = stored.get(key)
                record = records[key] if before is None else before.joined(records[key])
                if record != before:
                    rows.append((self.context.id, key, day, encode(self.context, key, record)))
            connection.executemany("INSERT OR REPLACE INTO scores VALUES (?, ?, ?, ?)", rows)


def today() -> int:
    """Days since 1970, UTC."""
    return int(time.time()) // 86400


def remove(connection: sqlite3.Connection, rows: Sequence[tuple[int, bytes, object]]) -> None:
    """Remove rows by context id, key and record, unless the record was replaced meanwhile."""
    connection.executemany(
        "DELETE FROM scores WHERE context = ? AND key = ? "
        "AND CAST(record AS BLOB) IS CAST(? AS BLOB)",
        rows,
    )


def _live_bytes(connection: sqlite3.Connection) -> int:
    pages, free, size = (
        connection.execute(f"PRAGMA {name}").fetchone()[0]
        for name in ("page_count", "freelist_count", "page_size")
    )
    return int((pages - free) * size)


def _row_bytes(record_bytes: str) -> str:
    """In SQL: what a row takes of a packed file; a page holds whole rows."""
    room = _PAGE_BYTES - _LINK_BYTES
    pages = f"(({record_bytes} - {_BEGINNING} + {room - 1}) / {room})"
    a_page_holds = f"({_USABLE_BYTES} / ({record_bytes} + {_ROW_BYTES}))"
    return (
        f"CASE WHEN {record_bytes} <= {_MAX_INSIDE} THEN {_PAGE_BYTES} / {a_page_holds} "
        f"ELSE {_ROW_BYTES} + {_BEGINNING} + {_PAGE_BYTES} * {pages} END"
    )


def excess(
    connection: sqlite3.Connection,
    max_bytes: int,
    among: str = "1",
    values: Sequence[object] = (),
) -> list[tuple[int, int]]:
    """How many rows of which days must go, so that the rest fits.

    Args:
        connection: In a transaction.
        max_bytes: Room for the rest in a packed file.
        among: Condition of the rows that count.
        values: Of the placeholders in `among`.
    """
    row_bytes = _row_bytes("coalesce(length(record), 0)")
    days = connection.execute(
        f"SELECT used, count(*), sum({row_bytes}) FROM scores WHERE {among} "
        "GROUP BY used ORDER BY used",
        values,
    ).fetchall()
    too_many = sum(size for _, _, size in days) - max_bytes
    found = []
    for used, n_rows, size in days:
        if too_many <= 0:
            break
        if size > too_many:
            sizes = connection.execute(
                f"SELECT {row_bytes} FROM scores WHERE {among} AND used IS ? ORDER BY context, key",
                (*values, used),
            )
            sums = accumulate(size for (size,) in sizes)
            n_rows = next((n for n, total in enumerate(sums, 1) if total >= too_many), n_rows)
        found.append((used, n_rows))
        too_many -= size
    return found


def delete(connection: sqlite3.Connection, doomed: Sequence[tuple[int, int]]) -> None:
    """Remove what `excess` has found among all rows."""
    connection.executemany(
        "DELETE FROM scores WHERE (context, key) IN "
        "(SELECT context, key FROM scores WHERE used IS ? ORDER BY context, key LIMIT ?)",
        doomed,
    )
