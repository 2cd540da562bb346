"""What a run's report says, from the files of its folder."""

import numpy as np
import pyarrow as pa

import gradgate
from gradgate.common import parquet
from gradgate.common.run_folder import RunFolder
from gradgate.gate.changes import tau_of
from gradgate.gate.flags import top_flagged
from gradgate.gate.quarantine import is_open, marks
from gradgate.gate.verdict import Verdict
from gradgate.report.about import About
from gradgate.report.page import MAX_REJECTED, MAX_SAMPLES, FlaggedSample, ReportContent
from gradgate.report.shared_words import words_beside_forms

_SCHEMA = pa.schema(
    [
        ("spectral_entropy", pa.float64()),
        ("gradient_recurrence", pa.float64()),
        ("flagged", pa.bool_()),
        ("approved", pa.string()),
    ]
)


def collect(
    run: RunFolder, source: str, verdict: Verdict, reproduce: str, about: About
) -> ReportContent:
    """Read what a report says; of a run that did not get so far there are fewer tables.

    Args:
        run: Holds the tables.
        source: Name of the dataset.
        verdict: On it.
        reproduce: Command line or configuration of the run.
        about: Which run it is.

    Raises:
        DataError: A table is missing or damaged.
    """
    is_judged = run.flags.exists()
    if verdict.decision == "error" and not run.flagged.exists():
        is_judged = False  # it broke between the two
    table = parquet.table(run.flags, _SCHEMA.names) if is_judged else _SCHEMA.empty_table()
    flagged = marks(table["flagged"], True) & is_open(table)
    return ReportContent(
        source=source,
        verdict=verdict,
        about=about,
        entropies=table["spectral_entropy"].to_numpy().astype(np.float64),
        recurrences=table["gradient_recurrence"].to_numpy().astype(np.float64),
        flagged=flagged,
        tau=tau_of(verdict),
        top_flagged=_top_flagged(run) if is_judged else [],
        rejected=_rejected(run) if run.rejected.exists() else [],
        reproduce=reproduce,
        version=gradgate.__version__,
        words=words_beside_forms(run, verdict) if is_judged else {},
    )


def _top_flagged(run: RunFolder) -> list[FlaggedSample]:
    return [
        FlaggedSample(
            row=line["row"],
            prompt=line["prompt"],
            target=line["target"],
            spectral_entropy=line["spectral_entropy"],
            recurrence=line["gradient_recurrence"],
            p_value=line["p_value"],
            reasons=line["reasons"],
            group=line["group"],
            questions=line["questions"],
        )
        for line in top_flagged(run, MAX_SAMPLES)
    ]


def _rejected(run: RunFolder) -> list[tuple[int, str, str]]:
    """Row, reason and content of the first rows that are no samples."""
    for batch in parquet.batches(run.rejected, ["row", "reason", "content"], MAX_REJECTED):
        return [(line["row"], line["reason"], line["content"]) for line in batch.to_pylist()]
    return []
