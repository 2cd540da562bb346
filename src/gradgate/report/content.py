"""What a run's report says, from the files of its folder."""

import numpy as np

import gradgate
from gradgate.common import parquet
from gradgate.common.run_folder import RunFolder
from gradgate.gate.changes import tau_of
from gradgate.gate.flags import top_flagged
from gradgate.gate.quarantine import is_open, marks
from gradgate.gate.verdict import Verdict
from gradgate.report.page import MAX_SAMPLES, FlaggedSample, ReportContent


def collect(run: RunFolder, source: str, verdict: Verdict, reproduce: str) -> ReportContent:
    """Read what a report says.

    Args:
        run: Holds flags.parquet and flagged.parquet.
        source: Name of the dataset.
        verdict: On it.
        reproduce: Command line or configuration of the run.
    """
    columns = ["spectral_entropy", "gradient_recurrence", "flagged", "approved"]
    table = parquet.table(run.flags, columns)
    flagged = marks(table["flagged"], True) & is_open(table)
    return ReportContent(
        source=source,
        verdict=verdict,
        entropies=table["spectral_entropy"].to_numpy().astype(np.float64),
        recurrences=table["gradient_recurrence"].to_numpy().astype(np.float64),
        flagged=flagged,
        tau=tau_of(verdict),
        top_flagged=[
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
        ],
        reproduce=reproduce,
        version=gradgate.__version__,
    )
