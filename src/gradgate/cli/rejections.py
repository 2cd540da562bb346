"""The first rejected rows, as people find them in their source."""

from collections.abc import Iterator
from pathlib import Path

from gradgate.common import parquet
from gradgate.common.redaction import redacted
from gradgate.data.rows.line_numbers import line_numbers

_SHOWN = 3
_MAX_CHARACTERS = 160  # of a reason


def first_rejected(rejected: Path, source: str) -> list[str]:
    """Line or row, and reason, of the first rejected rows.

    Args:
        rejected: The table of them (`RunFolder.rejected`).
        source: Of the data.

    Raises:
        DataError: The table cannot be read.
    """
    for batch in parquet.batches(rejected, ["row", "reason", "content"], _SHOWN):
        found = batch.to_pylist()
        path = Path(source.removeprefix("file://").removeprefix("local://"))
        lines = line_numbers(path, {one["row"]: one["content"] for one in found})
        return [f"{_place(one['row'], lines)}: {_cut(one['reason'])}" for one in found]
    return []


def all_rejected(shown: list[str], n_rejected: int, where: Path) -> Iterator[str]:
    """The first ones, and where the rest is."""
    yield from shown
    n_more = n_rejected - len(shown)
    yield f"{f'and {n_more:,} more; ' if n_more else ''}whole and with their reasons in {where}"


def _place(row: int, lines: dict[int, int]) -> str:
    return f"line {lines[row]:,}" if row in lines else f"row {row:,}, counted from 0"


def _cut(reason: str) -> str:
    text = redacted(reason)
    return text if len(text) <= _MAX_CHARACTERS else f"{text[:_MAX_CHARACTERS]}…"
