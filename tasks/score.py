"""Score every sample."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import cast
from uuid import UUID

from prefect import task
from prefect.artifacts import create_progress_artifact, update_progress_artifact

from gradgate.accepted import SCORES
from gradgate.config import ModelConfig, ScoringConfig
from gradgate.models import identify_model
from gradgate.prepare import Prepared
from gradgate.scoring.dataset import Progress, ScoringSummary, score_dataset
from gradgate.state import score_store
from tasks.retries import OPTIONS


@dataclass(frozen=True)
class Scored:
    """What the scoring did, and with which model."""

    summary: ScoringSummary
    model: dict[str, str | None]


@task(**OPTIONS)
def score(prepared: Prepared, model: ModelConfig, scoring: ScoringConfig, folder: Path) -> Scored:
    """Write scores.parquet into `folder`, scoring what the store does not know."""
    found = identify_model(model)
    store = score_store() if scoring.store else None
    summary = score_dataset(prepared, found, scoring, folder / SCORES, store, _progress_artifact())
    return Scored(summary, found.identity)


def _progress_artifact() -> Progress:
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
