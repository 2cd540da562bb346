"""Choose the threshold."""

import logging
from pathlib import Path

from prefect import task

from gradgate.config import ThresholdConfig
from gradgate.decision import read_entropies
from gradgate.threshold import Threshold, choose_threshold
from tasks.retries import OPTIONS

logger = logging.getLogger("gradgate.tasks")


@task(**OPTIONS)
def threshold(folder: Path, config: ThresholdConfig) -> Threshold:
    """Read scores.parquet in `folder`; rows that could not be scored have no part in tau."""
    found = choose_threshold(read_entropies(folder / "scores.parquet"), config)
    logger.info("threshold: %s, tau %s", found.state, found.tau)
    return found
