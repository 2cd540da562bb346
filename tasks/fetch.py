"""Fetch the rows of the source and make them samples."""

import logging

from prefect import task

from gradgate.common.run_folder import RunFolder
from gradgate.data.prepare import Prepared
from gradgate.gate.config import GateConfig
from gradgate.gate.pipeline import STEPS
from tasks.retries import OPTIONS

logger = logging.getLogger("gradgate.tasks")


@task(**OPTIONS)
def fetch(config: GateConfig, folder: RunFolder) -> Prepared:
    """Write samples.parquet and rejected.parquet into `folder`."""
    prepared = STEPS.fetch(config, folder)
    logger.info(
        "fetched %d rows: %d samples (%d distinct), %d rejected",
        *(prepared.n_rows, prepared.n_samples, prepared.n_unique, prepared.n_rejected),
    )
    return prepared
