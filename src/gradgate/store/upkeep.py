"""What `gradgate cache` does with the score store, whatever the model."""

import sqlite3
from dataclasses import dataclass
from pathlib import Path

from gradgate.store.file import DamagedError, StoreFile, contexts, transaction
from gradgate.store.row import ScoreContext, decode
from gradgate.store.scores import evict, remove, today


@dataclass(frozen=True)
class ContextRows:
    """The rows of one context.

    Attributes:
        context: None when the line that describes it is damaged.
        first_used: Day on which the row that was not used for longest was used, ISO.
        last_used: The newest day.
    """

    context: ScoreContext | None
    rows: int
    failed: int
    first_used: str
    last_used: str


@dataclass(frozen=True)
class Verified:
    """Result of `verify`.

    Attributes:
        whole: Rows that are right.
        removed: Rows that were not.
        set_aside: Where the file lies when its structure was damaged; it was replaced.
    """

    whole: int
    removed: int
    set_aside: Path | None


@dataclass(frozen=True)
class Removed:
    """Rows that `prune` removed from one context."""

    context: ScoreContext | None
    rows: int


@dataclass(frozen=True)
class PruneRules:
    """Which rows go: those that any of the rules names.

    Attributes:
        unused_days: Not used for more days than this.
        max_bytes: Not used for longest, until the rest fits.
        model_path: Of this model.
        everything: All.
    """

    unused_days: int | None = None
    max_bytes: int | None = None
    model_path: str | None = None
    everything: bool = False


def summarise(store: StoreFile) -> list[ContextRows]:
    """What lies in the store, the largest context first."""

    def work(connection: sqlite3.Connection) -> list[ContextRows]:
        known = contexts(connection)
        found = connection.execute(
            "SELECT context, count(*), sum(substr(record, 1, 1) = x'01'), "
            "coalesce(date(min(used) * 86400, 'unixepoch'), ''), "
            "coalesce(date(max(used) * 86400, 'unixepoch'), '') "
            "FROM scores GROUP BY context ORDER BY count(*) DESC, context"
        )
        return [
            ContextRows(known.get(number), rows, failed, first.decode(), last.decode())
            for number, rows, failed, first, last in found
        ]

    return store.run(work)


def verify(store: StoreFile) -> Verified:
    """Read all of the file, remove rows that are not whole, replace it when SQLite finds damage."""

    def work(connection: sqlite3.Connection) -> tuple[int, int]:
        if connection.execute("PRAGMA integrity_check(1)").fetchone()[0] != b"ok":
            raise DamagedError("integrity check")
        known = contexts(connection)
        n_whole, damaged = 0, []
        for number, key, record in connection.execute("SELECT context, key, record FROM scores"):
            if number in known and decode(known[number], key, record) is not None:
                n_whole += 1
            else:
                damaged.append((number, key, record))
        if damaged:
            with transaction(connection):
                remove(connection, damaged)
        return n_whole, len(damaged)

    n_whole, n_removed = store.run(work)
    return Verified(n_whole, n_removed, store.set_aside)


def prune(store: StoreFile, rules: PruneRules, dry_run: bool = False) -> list[Removed]:
    """Remove rows and give their room back; `dry_run` only says which they would be."""

    def work(connection: sqlite3.Connection) -> list[Removed]:
        known = contexts(connection)
        with transaction(connection, keep=not dry_run):
            before = _counts(connection)
            _apply(connection, rules, known)
            after = _counts(connection)
        gone = {number: rows - after.get(number, 0) for number, rows in before.items()}
        return [Removed(known.get(number), rows) for number, rows in gone.items() if rows]

    removed = store.run(work)
    if not dry_run:
        store.run(lambda connection: connection.execute("VACUUM"))
        store.run(lambda c: c.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall())
    return removed


def _counts(connection: sqlite3.Connection) -> dict[int, int]:
    return dict(connection.execute("SELECT context, count(*) FROM scores GROUP BY context"))


def _apply(
    connection: sqlite3.Connection, rules: PruneRules, known: dict[int, ScoreContext]
) -> None:
    if rules.everything:
        connection.execute("DELETE FROM scores")
    if rules.unused_days is not None:
        connection.execute("DELETE FROM scores WHERE used < ?", (today() - rules.unused_days,))
    for number, context in known.items():
        if context.model_path == rules.model_path:
            connection.execute("DELETE FROM scores WHERE context = ?", (number,))
    if rules.max_bytes is not None:
        evict(connection, rules.max_bytes)
    connection.execute(
        "DELETE FROM contexts WHERE NOT EXISTS (SELECT 1 FROM scores WHERE context = contexts.id)"
    )
