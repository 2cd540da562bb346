"""Score every sample."""

import time
from typing import cast
from uuid import UUID

from prefect import task
from prefect.artifacts import create_progress_artifact, update_progress_artifact

from gradgate.config import ModelConfig, ScoringConfig
from gradgate.models import load_model
from gradgate.prepare import Prepared
from gradgate.scoring import Progress, score_dataset
from tasks import tracking
from tasks.retries import OPTIONS
from tasks.run import GateRun


@task(**OPTIONS)
def score(
    run: GateRun, prepared: Prepared, model: ModelConfig, scoring: ScoringConfig
) -> dict[str, str | None]:
    """Write scores.parquet, with a progress artifact; returns the model's identity."""
    loaded = load_model(model)
    output = run.part / "scores.parquet"
    summary = score_dataset(prepared, loaded, scoring, output, _progress_artifact())
    tracking.log_metrics(
        run.tracked,
        {
            "samples_per_second": summary.samples_per_second,
            "scoring_seconds": summary.seconds,
            "distinct": summary.n_unique,
            "failed": summary.n_failed,
            "tokens": summary.n_tokens,
        },
    )
    tags = {f"gradgate.scored_by_{name}": value for name, value in loaded.identity.items() if value}
    tracking.set_tags(run.tracked, tags)
    return loaded.identity


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
