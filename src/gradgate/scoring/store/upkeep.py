"""What `gradgate cache` does with the score store, whatever the model."""

import sqlite3
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from gradgate.scoring.store.failures import DamagedError
from gradgate.scoring.store.file import StoreFile
from gradgate.scoring.store.row import ScoreContext, decode
from gradgate.scoring.store.schema import contexts, transaction
from gradgate.scoring.store.scores import delete, excess, remove, today


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
        removed: Rows that were not, those of version 2 that went at opening among them.
        undescribed: Rows that stay unchecked, for the line that describes their context is lost.
        set_aside: Where the file lies when its structure was damaged; it was replaced.
    """

    whole: int
    removed: int
    undescribed: int
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
        with transaction(connection, "DEFERRED"):
            known = contexts(connection)
            found = connection.execute(
                "SELECT context, count(*), sum(substr(record, 1, 1) = x'01'), "
                "coalesce(date(min(used) * 86400, 'unixepoch'), ''), "
                "coalesce(date(max(used) * 86400, 'unixepoch'), '') "
                "FROM scores GROUP BY context ORDER BY count(*) DESC, context"
            ).fetchall()
        return [
            ContextRows(known.get(number), rows, failed, first.decode(), last.decode())
            for number, rows, failed, first, last in found
        ]

    return store.run(work)


def verify(store: StoreFile) -> Verified:
    """Read all of the file, remove rows that are not whole, replace it when SQLite finds damage."""

    def work(connection: sqlite3.Connection) -> tuple[int, int, int]:
        if connection.execute("PRAGMA integrity_check(1)").fetchone()[0] != b"ok":
            raise DamagedError("integrity check")
        n_whole, n_undescribed, damaged = 0, 0, []
        with transaction(connection, "DEFERRED"):
            known = contexts(connection)
            rows = connection.execute("SELECT context, key, record FROM scores")
            for number, key, record in rows:
                if number not in known:
                    n_undescribed += 1
                elif decode(known[number], key, record) is not None:
                    n_whole += 1
                else:
                    damaged.append((number, key, record))
        if damaged:
            with transaction(connection):
                remove(connection, damaged)
        return n_whole, len(damaged), n_undescribed

    n_whole, n_removed, n_undescribed = store.run(work)
    n_lost, store.n_lost = store.n_lost, 0
    return Verified(n_whole, n_removed + n_lost, n_undescribed, store.set_aside)


def prune(store: StoreFile, rules: PruneRules, dry_run: bool = False) -> list[Removed]:
    """Remove rows, whose room `compact` gives back; `dry_run` only says which they would be."""

    def work(connection: sqlite3.Connection) -> list[Removed]:
        with transaction(connection, "DEFERRED" if dry_run else "IMMEDIATE"):
            known = contexts(connection)
            named, values = _named(rules, known)
            gone = Counter(
                dict(
                    connection.execute(
                        f"SELECT context, count(*) FROM scores WHERE {named} GROUP BY context",
                        values,
                    )
                )
            )
            oldest = []
            if rules.max_bytes is not None:
                oldest = excess(connection, rules.max_bytes, f"NOT ({named})", values)
            for used, n_rows in oldest:
                gone.update(
                    number
                    for (number,) in connection.execute(
                        f"SELECT context FROM scores WHERE NOT ({named}) AND used IS ? "
                        "ORDER BY context, key LIMIT ?",
                        (*values, used, n_rows),
                    )
                )
            if not dry_run:
                connection.execute(f"DELETE FROM scores WHERE {named}", values)
                delete(connection, oldest)
                connection.execute(
                    "DELETE FROM contexts "
                    "WHERE NOT EXISTS (SELECT 1 FROM scores WHERE context = contexts.id)"
                )
        return [Removed(known.get(number), rows) for number, rows in sorted(gone.items())]

    return store.run(work)


def compact(store: StoreFile) -> None:
    """Give the room of removed rows back to the file system.

    Raises:
        StoreError: Such as when there is no room for a second copy.
    """
    store.run(lambda connection: connection.execute("VACUUM"))
    store.run(lambda c: c.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall())


def _named(rules: PruneRules, known: dict[int, ScoreContext]) -> tuple[str, list[int]]:
    """Condition of the rows that a rule names, that of the size aside, and its values."""
    if rules.everything:
        return "1", []
    numbers = [n for n, context in known.items() if context.model_path == rules.model_path]
    named = f"context IN ({','.join('?' * len(numbers))})"
    if rules.unused_days is None:
        return named, numbers
    return f"{named} OR used < ?", [*numbers, today() - rules.unused_days]
