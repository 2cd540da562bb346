"""What changed between two runs: samples that are new, gone, newly flagged or no longer flagged.

A sample counts as flagged when a method flagged it or left it in doubt, or it has no score, or
people drop it; not when they keep it.
Copies beyond the limit of the policy are in doubt for their number alone, and do not count. A
sample's id is the hash of its content, so that where a sample of both runs has another flag, the
model, the settings, tau or the other samples changed. This is information; no decision rests on it.
"""

import sqlite3
from collections import Counter
from collections.abc import Iterator
from itertools import repeat
from pathlib import Path
from typing import TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from gradgate.common.arrays import Marks
from gradgate.common.files import written_whole
from gradgate.common.parquet import batches, data_errors
from gradgate.common.run_folder import CHANGE_SCHEMA, RunFolder, is_scored
from gradgate.common.scratch import scratch_database
from gradgate.errors import DataError, StoreError
from gradgate.gate.quarantine import dropped, is_open, kept, marks
from gradgate.gate.series import Series, last_run
from gradgate.gate.verdict import Changes, Verdict, load_verdict

_BATCH_ROWS = 4096
_NEW_FLAGGED = "new, and flagged"
_COLUMNS = [
    *("sample_id", "row", "spectral_entropy", "status"),
    *("flagged", "in_doubt", "surplus_copy", "approved"),
]
_Line: TypeAlias = tuple[bytes, int, int, float | None, bool]
# What a damaged table, a missing file and a full disk raise.
_BROKEN = (OSError, ValueError, TypeError, KeyError, pa.ArrowException, sqlite3.Error, StoreError)
_SCORED_WITH = {
    "model_sha256": "model",
    "model_adapter_sha256": "adapter",
    "method": "method",
    "mode": "mode",
    "k": "k",
    "dtype": "dtype",
    "probes_sha256": "probing set",
}
_LINES = "CREATE TABLE lines (id BLOB, is_now INTEGER, line INTEGER, entropy REAL, flagged INTEGER)"
# A repeated sample is one sample. IS NOT: where there is none, the flag is NULL.
_CHANGED = """
SELECT lower(hex(id)),
       coalesce(min(CASE WHEN is_now THEN line END), min(line)),
       max(CASE WHEN is_now THEN flagged END) AS now,
       max(CASE WHEN NOT is_now THEN flagged END) AS before,
       max(CASE WHEN is_now THEN entropy END),
       max(CASE WHEN NOT is_now THEN entropy END)
FROM lines GROUP BY id HAVING now IS NOT before ORDER BY id
"""


def tau_of(verdict: Verdict) -> float | None:
    """The threshold that flagged, where there is one."""
    answer = verdict.answer("poisoned")
    return None if answer is None else answer.tau


def changes_since_last(series: Series, state: Path, run_folder: Path, tau: float | None) -> Changes:
    """Compare a run with the last one of its series; where that fails, one line says why.

    Args:
        series: Of the run.
        state: The state folder.
        run_folder: Holds flags.parquet; changes.parquet is written into it. The earlier runs lie
            beside it.
        tau: The threshold of this run.
    """
    name = None
    try:
        name = last_run(series, state)
        if name is None:
            return Changes()
        earlier = run_folder.with_name(name)
        if not earlier.is_dir():
            raise DataError(f"there is no folder {earlier}")
        return compare(earlier, tau_of(load_verdict(RunFolder(earlier).verdict)), run_folder, tau)
    except (DataError, OSError) as error:  # an OSError: the folder cannot be looked into
        return Changes(since=name, not_compared=" ".join(str(error).split()))


def compare(
    earlier: Path, tau_before: float | None, run_folder: Path, tau: float | None
) -> Changes:
    """Compare two tables of flags; memory does not depend on how many rows they have.

    Where one run could not flag, nothing is known of flags, and only new and gone samples are
    counted; unknown is not zero.

    Raises:
        DataError: A table cannot be read, or the result cannot be written.
    """
    output = RunFolder(run_folder).changes
    flags = (RunFolder(earlier).flags, RunFolder(run_folder).flags)
    try:
        are_known = all(map(_are_known, flags))
        with scratch_database() as database:
            database.execute(_LINES)
            for is_now, path in enumerate(flags):
                lines = _lines(path, is_now, are_known)
                database.executemany("INSERT INTO lines VALUES (?, ?, ?, ?, ?)", lines)
            with written_whole(output) as part:
                counts = _write(database.execute(_CHANGED), part, are_known)
        changed = _changed_settings(*flags)
    except _BROKEN as error:
        why = f"{type(error).__name__}: {error}"
        raise DataError(f"{flags[0]} cannot be compared with {flags[1]}: {why}") from error
    return Changes(
        since=earlier.name,
        n_new=counts["new"],
        n_gone=counts["gone"],
        n_new_flagged=counts[_NEW_FLAGGED] if are_known else None,
        n_flagged_since=counts["flagged"] if are_known else None,
        n_cleared_since=counts["cleared"] if are_known else None,
        tau_before=tau_before,
        changed_settings=changed,
    )


def _are_known(path: Path) -> bool:
    """Whether a run said of every sample with a score whether it is flagged."""
    for batch in batches(path, ["flagged", "status", "approved"], _BATCH_ROWS):
        unknown = pc.is_null(batch["flagged"]).to_numpy(zero_copy_only=False) & is_open(batch)
        if (unknown & is_scored(batch)).any():
            return False
    return True


def _lines(path: Path, is_now: int, are_known: bool) -> Iterator[_Line]:
    """Lines of a table for the database, which makes NaN to NULL."""
    for batch in batches(path, _COLUMNS, _BATCH_ROWS):
        entropy = batch["spectral_entropy"].to_numpy(zero_copy_only=False)
        entropy = np.where(is_scored(batch) & np.isfinite(entropy), entropy, np.nan)
        flags = (_counts_as_flagged(batch) & are_known).tolist()
        ids = map(bytes.fromhex, batch["sample_id"].to_pylist())
        rows = batch["row"].to_pylist()
        yield from zip(ids, repeat(is_now), rows, entropy.tolist(), flags, strict=False)


def _counts_as_flagged(batch: pa.RecordBatch) -> Marks:
    """Which rows count as flagged, (n,): by people, where they have said it."""
    doubted = marks(batch["in_doubt"], True) & ~marks(batch["surplus_copy"], True)
    flagged = ~marks(batch["flagged"], False) | doubted
    return dropped(batch) | (flagged & ~(kept(batch) & is_scored(batch)))


def _write(found: sqlite3.Cursor, path: Path, are_known: bool) -> Counter[str]:
    counts: Counter[str] = Counter()
    with pq.ParquetWriter(path, CHANGE_SCHEMA, compression="zstd") as writer:
        while batch := found.fetchmany(_BATCH_ROWS):
            ids, rows, now, before, entropy, entropy_before = zip(*batch, strict=True)
            kinds = [_kind(*pair) for pair in zip(now, before, strict=True)]
            # Of a sample that is gone, whether it was flagged.
            flags = [
                bool(before if now is None else now) if are_known else None
                for now, before in zip(now, before, strict=True)
            ]
            counts.update(kinds)
            pairs = zip(kinds, flags, strict=True)
            counts[_NEW_FLAGGED] += sum(kind == "new" and flag is True for kind, flag in pairs)
            columns = [ids, rows, kinds, flags, entropy, entropy_before]
            writer.write_table(pa.table(columns, schema=CHANGE_SCHEMA))
    return counts


def _kind(now: int | None, before: int | None) -> str:
    if before is None:
        return "new"
    if now is None:
        return "gone"
    return "flagged" if now else "cleared"


def _changed_settings(before: Path, now: Path) -> list[str]:
    """What else decides a score and was another; both tables say it in their metadata."""
    then, here = map(_metadata, (before, now))
    keys = {f"gradgate.{key}".encode(): name for key, name in _SCORED_WITH.items()}
    return [name for key, name in keys.items() if then.get(key) != here.get(key)]


def _metadata(path: Path) -> dict[bytes, bytes]:
    with data_errors(path):
        return pq.read_schema(path).metadata or {}
