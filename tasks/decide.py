"""Decide, and draw what the decision rests on."""

import logging
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from prefect import task

from gradgate.common.run_folder import RunFolder, is_scored
from gradgate.data.prepare import Prepared
from gradgate.gate.config import GateConfig
from gradgate.gate.decide import Checked
from gradgate.gate.findings import Findings
from gradgate.gate.pipeline import STEPS, Detected
from gradgate.gate.quarantine import is_open, marks
from gradgate.gate.verdict import Verdict
from gradgate.report.plots import plot_entropies
from tasks.retries import OPTIONS

logger = logging.getLogger("gradgate.tasks")


@task(**OPTIONS)
def decide(
    prepared: Prepared,
    findings: Findings,
    honoured: Detected,
    checked: Checked,
    config: GateConfig,
    folder: RunFolder,
) -> Verdict:
    """The verdict, with histogram.png beside it."""
    verdict = STEPS.decide(prepared, findings, honoured, checked, config, folder)
    _plot(folder, verdict, f"{Path(prepared.source).name}: {verdict.decision}")
    logger.info("verdict: %s", verdict.decision)  # the flow says why when it ends
    return verdict


def _plot(folder: RunFolder, verdict: Verdict, title: str) -> None:
    columns = ["spectral_entropy", "status", "flagged", "approved"]
    table = pq.read_table(folder.flags, columns=columns)
    scored = is_scored(table)
    entropies = table["spectral_entropy"].to_numpy()[scored].astype(np.float64)
    flagged = (marks(table["flagged"], True) & is_open(table))[scored]
    answer = verdict.answer("poisoned")
    tau = None if answer is None else answer.tau
    plot_entropies(entropies, flagged, tau, title, folder.histogram)
