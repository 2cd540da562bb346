"""Decide, and draw what the decision rests on."""

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from prefect import task

from gradgate.common.run_folder import RunFolder, is_scored
from gradgate.config import PolicyConfig
from gradgate.data.prepare import Prepared
from gradgate.gate.approved import NOTHING_APPROVED, Approved
from gradgate.gate.decide import Checked, Scored
from gradgate.gate.flags import Flagging
from gradgate.gate.pipeline import STEPS
from gradgate.gate.quarantine import is_open, marks
from gradgate.gate.verdict import TrustedReference, Verdict
from gradgate.power.measurement import Measured
from gradgate.report.plots import plot_entropies
from tasks.retries import OPTIONS

logger = logging.getLogger("gradgate.tasks")


@task(**OPTIONS)
def decide(
    folder: RunFolder,
    prepared: Prepared,
    scored: Scored,
    flaggings: Sequence[Flagging],
    checked: Checked,
    measured: Measured,
    policy: PolicyConfig,
    reference: TrustedReference | None,
    approved: Approved = NOTHING_APPROVED,
) -> Verdict:
    """The verdict, with histogram.png beside it."""
    verdict = STEPS.decide(
        folder, prepared, scored, flaggings, checked, measured, policy, reference, approved
    )
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
