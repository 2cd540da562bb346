"""The quarantine: rows that nobody trains on although they are not flagged."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from gradgate.common import parquet
from gradgate.common.arrays import Marks
from gradgate.common.run_folder import KEEP, QUARANTINED_SCHEMA, RunFolder, is_scored
from gradgate.config import InDoubt
from gradgate.errors import DataError
from gradgate.gate.listing import columns_of, lines_of, write_listing

IN_DOUBT, COPY, DROPPED = "in doubt", "copy", "dropped"  # what the column `why` says
_MARKS = ["flagged", "in_doubt", "surplus_copy", "status", "approved"]


def marks(column: Any, value: bool) -> Marks:
    """Where a column of booleans, of shape (n,), has a value; null is neither."""
    return np.array([mark is value for mark in column.to_pylist()], bool)


def kept(flags: pa.Table | pa.RecordBatch) -> Marks:
    """Which rows of a table of flags people keep: (n,)."""
    return np.array([said == KEEP for said in flags["approved"].to_pylist()], bool)


def dropped(flags: pa.Table | pa.RecordBatch) -> Marks:
    """Which rows people drop; (n,). Whatever is neither nothing nor `keep` counts as that."""
    return np.array([said not in (None, KEEP) for said in flags["approved"].to_pylist()], bool)


def is_open(flags: pa.Table | pa.RecordBatch) -> Marks:
    """Which rows nobody has decided on: (n,)."""
    return ~(kept(flags) | dropped(flags))


def quarantined(flags: pa.Table | pa.RecordBatch, in_doubt: InDoubt) -> Marks:
    """Which rows of a table of flags are kept out though not flagged.

    Args:
        flags: Some or all of its rows.
        in_doubt: The policy; surplus copies and what people drop are out under any.

    Returns:
        Of shape (n,).
    """
    out = marks(flags["surplus_copy"], True)
    if in_doubt != "keep":
        out |= marks(flags["in_doubt"], True) & is_open(flags)
    out &= ~(marks(flags["flagged"], True) & is_open(flags))
    return is_scored(flags) & (out | dropped(flags))


def write_quarantined(run: RunFolder, in_doubt: InDoubt, questions: Sequence[str]) -> None:
    """Write quarantined.parquet: these rows with their text, in row order.

    Args:
        run: Holds samples.parquet and flags.parquet.
        in_doubt: The policy.
        questions: That were asked, in their order; surplus copies are in doubt for the first.
    """
    columns = dict.fromkeys([*_MARKS, *columns_of(QUARANTINED_SCHEMA, questions)])
    tables = (
        _listed(flags.filter(pa.array(quarantined(flags, in_doubt))), questions)
        for flags in parquet.tables(run.flags, list(columns))
    )
    write_listing(run.quarantined, tables, run.samples, QUARANTINED_SCHEMA)


def _listed(kept_out: pa.Table, questions: Sequence[str]) -> pa.Table:
    """The lines of rows that are kept out, with the word why."""
    lines = lines_of(kept_out, questions, "in_doubt")
    why = np.where(marks(lines["surplus_copy"], True), COPY, IN_DOUBT)
    why = np.where(dropped(lines), DROPPED, why)
    return lines.append_column("why", pa.array(why, pa.string()))


def n_quarantined(run: RunFolder, in_doubt: InDoubt) -> int:
    """Count the quarantined rows, by the tables as they are now.

    Raises:
        DataError: quarantined.parquet lists other rows than flags.parquet marks.
    """
    flags = parquet.table(run.flags, ["row", *_MARKS])
    marked = flags["row"].to_numpy()[quarantined(flags, in_doubt)]
    listed = parquet.table(run.quarantined, ["row"])["row"].to_numpy()
    if not np.array_equal(marked, listed):
        raise DataError(
            f"{run.quarantined} lists {len(listed)} rows, and {run.flags} has {len(marked)} to "
            "quarantine, or others; run again"
        )
    return len(marked)
