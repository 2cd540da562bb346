"""The samples that have to be scored, in the order that scoring wants, on disk."""

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import numpy as np

from gradgate.common.scratch import scratch_database
from gradgate.data.tokens import Tokens

_ORDERS = {
    "prefix": "ids, mask",
    "length": "length(ids), ids, mask",
}


class Worklist:
    """Distinct samples on disk; memory does not depend on how many there are."""

    def __init__(self, database: sqlite3.Connection) -> None:
        """Take an empty database; `open_worklist` makes one."""
        self._database = database
        database.execute("CREATE TABLE work (ids BLOB, mask BLOB)")

    def add(self, samples: Iterable[Tokens]) -> None:
        """Add samples; equal ones may come again."""
        rows = [(sortable(s.input_ids), packed(s.is_target)) for s in samples]
        self._database.executemany("INSERT INTO work VALUES (?, ?)", rows)

    def longest(self) -> int:
        """Tokens of the longest sample; 0 when there is none."""
        (size,) = self._database.execute("SELECT max(length(ids)) FROM work").fetchone()
        return (size or 0) // 4

    def samples(self, order: str) -> Iterator[Tokens]:
        """Every distinct sample once.

        Args:
            order: `prefix`, by token ids, or `length`, the shortest first.
        """
        columns = _ORDERS[order]
        query = f"SELECT ids, mask FROM work GROUP BY {columns} ORDER BY {columns}"
        for ids, mask in self._database.execute(query):
            yield tokens_of(ids, mask)


@contextmanager
def open_worklist() -> Iterator[Worklist]:
    """An empty worklist, which is gone at the end.

    Raises:
        StoreError: The disk is full.
    """
    with scratch_database() as database:
        yield Worklist(database)


def sortable(ids: list[int]) -> bytes:
    """Big-endian, so that the order of the bytes is the order of the ids."""
    return np.asarray(ids, dtype=">u4").tobytes()


def packed(mask: list[bool]) -> bytes:
    """A byte a token."""
    return np.asarray(mask, dtype=bool).tobytes()


def tokens_of(ids: bytes, mask: bytes) -> Tokens:
    """A sample as it was before it was `sortable` and `packed`."""
    return Tokens(
        np.frombuffer(ids, dtype=">u4").tolist(), np.frombuffer(mask, dtype=bool).tolist()
    )
