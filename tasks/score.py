"""Score every sample."""

import time
from typing import cast
from uuid import UUID

from prefect import task
from prefect.artifacts import create_progress_artifact, update_progress_artifact

import gradgate.gate.pipeline
from gradgate.common.run_folder import RunFolder
from gradgate.data.prepare import Prepared
from gradgate.gate.config import GateConfig
from gradgate.gate.pipeline import ScoredRun
from gradgate.scoring.run import Progress
from tasks.retries import OPTIONS


@task(**OPTIONS)
def score(prepared: Prepared, config: GateConfig, folder: RunFolder) -> ScoredRun:
    """Write scores.parquet into `folder`, scoring what the store does not know."""
    return gradgate.gate.pipeline.score(prepared, config, folder, progress_artifact())


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
