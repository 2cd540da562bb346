"""Flag the rows of a scored data set."""

import logging

from prefect import task

from gradgate.common.run_folder import RunFolder
from gradgate.data.prepare import Prepared
from gradgate.gate.config import GateConfig
from gradgate.gate.pipeline import STEPS, Detected
from tasks.retries import OPTIONS

logger = logging.getLogger("gradgate.tasks")


@task(**OPTIONS)
def detect(prepared: Prepared, config: GateConfig, folder: RunFolder) -> Detected:
    """Write flags.parquet, flagged.parquet and quarantined.parquet into `folder`."""
    detected = STEPS.detect(prepared, config, folder)
    for found in detected.flaggings:
        n_flagged = "no" if found.n_flagged is None else found.n_flagged
        logger.info(
            "%s: %s rows flagged, %d in doubt, %d surplus copies",
            *(found.method, n_flagged, found.n_in_doubt, found.n_surplus),
        )
    return detected
