"""From a score table to a verdict, and the table of what was flagged."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from gradgate.accepted import SCORES, accept
from gradgate.config import PolicyConfig
from gradgate.prepare import Prepared, iter_samples, rejection_reasons
from gradgate.samples import Sample
from gradgate.threshold import Threshold
from gradgate.verdict import Verdict, poison_interval, rule_on_count, rule_on_threshold

FLAGGED = "flagged.parquet"
FLAGGED_SCHEMA = pa.schema(
    [
        ("row", pa.int64()),
        ("sample_id", pa.string()),
        ("spectral_entropy", pa.float64()),
        ("n_target_tokens", pa.int32()),
        ("loss", pa.float64()),
        ("prompt", pa.string()),
        ("target", pa.string()),
    ]
)


def read_entropies(scores: Path) -> npt.NDArray[np.float64]:
    """Entropies of the rows of a score table that were scored, in row order: (n,)."""
    table = pq.read_table(scores, columns=["spectral_entropy", "status"])
    scored = table.filter(pc.equal(table["status"], "scored"))
    return np.asarray(scored["spectral_entropy"].to_numpy(), dtype=np.float64)


def decide(
    run_folder: Path,
    prepared: Prepared,
    threshold: Threshold,
    policy: PolicyConfig,
    failures: list[str],
    model: dict[str, str | None],
) -> Verdict:
    """The verdict on a scored dataset.

    Args:
        run_folder: Holds samples.parquet and scores.parquet.
        prepared: The dataset.
        threshold: What the scores say about tau.
        policy: What to make of it.
        failures: Checks of the score table that failed, other than the poison fraction: a table
            that is not whole is an `error`, whatever the scores say.
        model: Identity of the model that scored.
    """
    entropies = read_entropies(run_folder / SCORES)
    n_scored = int(entropies.size)
    ruling = rule_on_threshold(threshold, policy)
    n_flagged = None if ruling.tau is None else int((entropies > ruling.tau).sum())
    decision, reasons = ruling.decision, ruling.reasons
    if failures or n_scored == 0:
        decision, reasons = "error", failures or ["no row could be scored"]
    elif n_flagged is not None:
        decision, count_reasons = rule_on_count(n_flagged, n_scored, policy)
        reasons = [*reasons, *count_reasons]
    accepted = accept(run_folder, ruling.tau) if decision == "pass" else None
    if accepted is not None and accepted.n == 0:
        decision, reasons, accepted = "fail", [*reasons, "not a single row is accepted"], None
    counted = None if n_flagged is None or n_scored == 0 else n_flagged
    return Verdict(
        decision=decision,
        reasons=reasons,
        n_rows=prepared.n_rows,
        n_rejected=prepared.n_rejected,
        n_scored=n_scored,
        n_flagged=n_flagged,
        poison_fraction=None if counted is None else counted / n_scored,
        poison_interval=None if counted is None else poison_interval(counted, n_scored),
        tau=ruling.tau,
        threshold=threshold.to_json(),
        dataset_fingerprint=prepared.fingerprint,
        accepted_fingerprint=accepted.fingerprint if accepted else None,
        accepted_tokens=accepted.tokens_digest if accepted else None,
        model=model,
    )


def refuse_raw_data(prepared: Prepared, failures: list[str]) -> Verdict:
    """The verdict on a dataset that is not fit to be scored."""
    why = [f"rejected rows: {rejection_reasons(prepared)}"] if prepared.n_rejected else []
    return Verdict(
        decision="fail",
        reasons=[*failures, *why],
        n_rows=prepared.n_rows,
        n_rejected=prepared.n_rejected,
        dataset_fingerprint=prepared.fingerprint,
    )


def write_flagged(run_folder: Path, samples: Path, tau: float | None) -> None:
    """Write flagged.parquet: the rows above tau with their text, in row order.

    Without a tau the table is empty: nothing is flagged by nothing.
    """
    scores = pq.read_table(run_folder / SCORES, columns=FLAGGED_SCHEMA.names[:5])
    flagged = scores.filter(pc.greater(scores["spectral_entropy"], 2.0 if tau is None else tau))
    with pq.ParquetWriter(run_folder / FLAGGED, FLAGGED_SCHEMA) as writer:
        texts = iter_samples(samples)
        for batch in flagged.to_batches(max_chunksize=256):
            writer.write_table(_with_text(batch.to_pylist(), texts))


def _with_text(lines: list[dict[str, Any]], samples: Iterator[Sample]) -> pa.Table:
    """Add prompt and target; both tables are in row order, so that one pass finds all."""
    for line in lines:
        sample = next(sample for sample in samples if sample.row == line["row"])
        line["prompt"] = "".join(turn.text for turn in sample.turns if not turn.is_target)
        line["target"] = "".join(turn.text for turn in sample.turns if turn.is_target)
    return pa.Table.from_pylist(lines, schema=FLAGGED_SCHEMA)


def top_flagged(run_folder: Path, n: int) -> list[dict[str, Any]]:
    """The n flagged rows of the highest entropy, the highest first."""
    path = run_folder / FLAGGED
    order = [("spectral_entropy", "descending"), ("row", "ascending")]
    rows = pq.read_table(path, columns=["row", "spectral_entropy"]).sort_by(order)["row"][:n]
    chosen = pq.read_table(path, filters=pc.field("row").isin(rows.combine_chunks()))
    return chosen.sort_by(order).to_pylist()
