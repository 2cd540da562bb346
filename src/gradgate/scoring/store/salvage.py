"""The salvage of a damaged score store: every row that can be read and is whole."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from gradgate.scoring.store.failures import BUSY, NO_ROOM, UNREADABLE, is_damage
from gradgate.scoring.store.row import ScoreContext, decode
from gradgate.scoring.store.schema import add_context, contexts, is_outdated, transaction
from gradgate.scoring.store.version2 import OldContext, Row, old_contexts, put_rewritten

_PREFIXES = 2**16  # of two bytes; about 15 keys of a million share one


def prepare_to_salvage(damaged: sqlite3.Connection) -> None:
    """Lock the damaged file, as far as that can be done, and make SQLite read it."""
    # Read a file that was cut off as far as it goes.
    damaged.execute("PRAGMA writable_schema = ON")
    # Whoever still has the file open cannot commit to it until it is moved, and then notices.
    with _as_far_as_it_can_be_read():
        damaged.execute("BEGIN IMMEDIATE")


def salvage(
    damaged: sqlite3.Connection,
    fresh: sqlite3.Connection,
    own: ScoreContext | None,
    n_pages: int,
) -> int:
    """Copy the rows that are whole, and those of contexts that no line describes; their number.

    Rows of version 2 are rewritten.
    """
    with _as_far_as_it_can_be_read():
        if is_outdated(damaged):
            return 0
    known, old = _contexts(damaged, own)
    with transaction(fresh):
        for number in sorted((known.keys() | _context_ids(damaged)) - old.keys()):
            rows = _readable(damaged, number, n_pages)
            fresh.executemany(
                "INSERT OR IGNORE INTO scores VALUES (?, ?, ?, ?)",
                _saved(number, rows, known.get(number)),
            )
        for number in sorted(old):
            put_rewritten(fresh, old[number], _readable(damaged, number, n_pages))
        (n_rows,) = fresh.execute("SELECT count(*) FROM scores").fetchone()
        for context in (*(one.context for one in old.values()), *known.values()):
            add_context(fresh, context)
    return int(n_rows)


def _contexts(
    damaged: sqlite3.Connection, own: ScoreContext | None
) -> tuple[dict[int, ScoreContext], dict[int, OldContext]]:
    """Those of this version and of version 2, by id, as far as they can be read."""
    known = {} if own is None else {own.id: own}
    old = {} if own is None else {OldContext(own).id: OldContext(own)}
    with _as_far_as_it_can_be_read():
        known |= contexts(damaged)
    with _as_far_as_it_can_be_read():
        old |= old_contexts(damaged)
    return known, old


def _saved(
    number: int, rows: Iterator[Row], context: ScoreContext | None
) -> Iterator[tuple[int, bytes, int, object]]:
    """Whole rows of one context; all when nothing describes it."""
    for key, used, content in rows:
        if context is None or decode(context, key, content) is not None:
            yield number, key, used, content


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
    except UNREADABLE as error:
        _raise_unless_unreadable(error)


def _raise_unless_unreadable(error: sqlite3.DatabaseError | UnicodeDecodeError) -> None:
    """Rows are not lost because the disk is full, which SQLite needs to read too, or locked."""
    if isinstance(error, UnicodeDecodeError) or is_damage(error):
        return
    if error.sqlite_errorcode & 0xFF in (*NO_ROOM, *BUSY):
        raise error


def _readable(damaged: sqlite3.Connection, context: int, n_pages: int) -> Iterator[Row]:
    """The rows of a context; where reading fails, the keys are halved until they fill no page."""
    smallest = max(1, _PREFIXES // (4 * n_pages))
    # No more than a 256th of the rows is in memory.
    width = _PREFIXES // 256
    parts = [(low, low + width) for low in reversed(range(0, _PREFIXES, width))]
    while parts:
        low, high = parts.pop()
        rows: list[Row] = []
        try:
            rows += damaged.execute(
                "SELECT key, used, record FROM scores WHERE context = ? AND key >= ? AND key < ?",
                (context, _prefix(low), _prefix(high)),
            )
        except UNREADABLE as error:
            _raise_unless_unreadable(error)
            if high - low > smallest:
                middle = (low + high) // 2
                parts += [(middle, high), (low, middle)]
        yield from rows


def _prefix(number: int) -> bytes:
    """First bytes of the keys from here on; after the last number, more than any key."""
    return number.to_bytes(2, "big") if number < _PREFIXES else b"\xff" * 33
