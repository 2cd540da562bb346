"""The number of rows of a source, held against what is said of it."""

from collections.abc import Iterator

from gradgate.data.rows.row import RawRow
from gradgate.errors import DataError


def check_rows(
    rows: Iterator[RawRow], stated: int | None, shown: str, origin: str
) -> Iterator[RawRow]:
    """The rows, whose number is looked at in the end.

    Args:
        rows: Of the source.
        stated: How many there have to be; None where nothing says it.
        shown: The source as errors name it.
        origin: What says it.

    Raises:
        DataError: At the end: there are fewer.
    """
    n_rows = 0
    for row in rows:
        n_rows += 1
        yield row
    if stated is not None and n_rows < stated:
        raise DataError(
            f"{shown} has {n_rows:,} rows, and {origin} says {stated:,}: rows are lost; get it "
            f"anew. If they were left out on purpose, set data.expected_rows to {n_rows}"
        )
