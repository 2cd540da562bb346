"""Decide, and write down what the decision rests on."""

import logging
from pathlib import Path

from prefect import task

import gradgate.decision
from gradgate.config import PolicyConfig
from gradgate.decision import read_entropies, write_flagged
from gradgate.plots import plot_entropies
from gradgate.prepare import Prepared
from gradgate.threshold import Threshold
from gradgate.verdict import Verdict
from tasks.retries import OPTIONS
from tasks.score import Scored

logger = logging.getLogger("gradgate.tasks")


@task(**OPTIONS)
def decide(
    prepared: Prepared,
    scored: Scored,
    threshold: Threshold,
    policy: PolicyConfig,
    failures: list[str],
    folder: Path,
) -> Verdict:
    """The verdict, with flagged.parquet and histogram.png beside it."""
    verdict = gradgate.decision.decide(folder, prepared, threshold, policy, failures, scored.model)
    write_flagged(folder, prepared.samples_path, verdict.tau)
    entropies = read_entropies(folder / "scores.parquet")
    title = f"{Path(prepared.source).name}: {verdict.decision}"
    plot_entropies(entropies, threshold, verdict.tau, title, folder / "histogram.png")
    logger.info("verdict: %s (%s)", verdict.decision, "; ".join(verdict.reasons))
    return verdict
