"""The steps of the pipeline as tasks; the checks are in `tasks.validate`."""

import logging
import time
from pathlib import Path
from typing import cast
from uuid import UUID

import numpy as np
import pyarrow.parquet as pq
from prefect import task
from prefect.artifacts import create_progress_artifact, update_progress_artifact

from gradgate.common.run_folder import RunFolder, is_scored
from gradgate.data.prepare import Prepared
from gradgate.gate import pipeline
from gradgate.gate.config import GateConfig
from gradgate.gate.decide import Checked
from gradgate.gate.findings import Findings
from gradgate.gate.pipeline import Detected, ScoredRun
from gradgate.gate.quarantine import is_open, marks
from gradgate.gate.verdict import Verdict
from gradgate.power.measurement import Measured
from gradgate.report.plots import plot_entropies
from gradgate.scoring.run import Progress
from tasks.retries import OPTIONS
from tasks.signing import signer_of

logger = logging.getLogger("gradgate.tasks")


@task(**OPTIONS)
def fetch(config: GateConfig, folder: RunFolder) -> Prepared:
    """Write samples.parquet and rejected.parquet into `folder`."""
    prepared = pipeline.fetch(config, folder)
    logger.info(
        "fetched %d rows: %d samples (%d distinct), %d rejected",
        *(prepared.n_rows, prepared.n_samples, prepared.n_unique, prepared.n_rejected),
    )
    return prepared


@task(**OPTIONS)
def score(prepared: Prepared, config: GateConfig, folder: RunFolder) -> ScoredRun:
    """Write scores.parquet into `folder`, scoring what the store does not know."""
    return pipeline.score(prepared, config, folder, progress_artifact())


def progress_artifact() -> Progress:
    """An artifact in Prefect's UI that follows the scoring, at most one update a second."""
    # Prefect types the call for coroutines as well; here it is a plain one.
    artifact = cast(UUID, create_progress_artifact(progress=0.0, key="scoring"))
    last = time.monotonic()

    def update(done: int, total: int) -> None:
        nonlocal last
        if done == total or time.monotonic() - last >= 1.0:
            last = time.monotonic()
            update_progress_artifact(artifact, progress=100.0 * done / total)

    return update


@task(**OPTIONS)
def detect(prepared: Prepared, config: GateConfig, folder: RunFolder) -> Detected:
    """Write flags.parquet, flagged.parquet and quarantined.parquet into `folder`."""
    detected = pipeline.detect(prepared, config, folder)
    for found in detected.flaggings:
        n_flagged = "no" if found.n_flagged is None else found.n_flagged
        logger.info(
            "%s: %s rows flagged, %d in doubt, %d surplus copies",
            *(found.method, n_flagged, found.n_in_doubt, found.n_surplus),
        )
    return detected


@task(**OPTIONS)
def honour(detected: Detected, config: GateConfig, folder: RunFolder) -> Detected:
    """Write the column `approved` of flags.parquet, and the lists of rows anew."""
    signer = signer_of(config.attestation) if config.approvals.who else None
    return pipeline.honour(detected, config, folder, signer)


@task(**OPTIONS)
def measure(detected: Detected, config: GateConfig, folder: RunFolder) -> Measured:
    """Plant canaries of known attacks in a copy of the samples, and see which are flagged."""
    measured = pipeline.measure(detected, config, folder)
    for one in measured.power or []:
        logger.info("%s: %d of %d canaries found", one.attack, one.n_detected, one.n_planted)
    return measured


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
    verdict = pipeline.decide(prepared, findings, honoured, checked, config, folder)
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
