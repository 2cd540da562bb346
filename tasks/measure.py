"""Find out what the gate can see in this data set."""

import logging

from prefect import task

from gradgate.common.run_folder import RunFolder
from gradgate.gate.config import GateConfig
from gradgate.gate.pipeline import STEPS, Detected
from gradgate.power.measurement import Measured
from tasks.retries import OPTIONS

logger = logging.getLogger("gradgate.tasks")


@task(**OPTIONS)
def measure(detected: Detected, config: GateConfig, folder: RunFolder) -> Measured:
    """Plant canaries of known attacks in a copy of the samples, and see which are flagged."""
    measured = STEPS.measure(detected, config, folder)
    for one in measured.power or []:
        logger.info("%s: %d of %d canaries found", one.attack, one.n_detected, one.n_planted)
    return measured
