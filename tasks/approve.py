"""Decide on rows of an earlier run, and find what is needed to go on with it."""

import logging
from functools import partial
from pathlib import Path

from prefect import task
from securesystemslib.signer import CryptoSigner

from gradgate.attest.approving import Decided, EarlierRun, find_run, open_run, record
from gradgate.attest.verification import revoked_by_operator
from gradgate.common.redaction import HIDDEN
from gradgate.common.run_folder import RunFolder
from gradgate.config import AttestationConfig, check_config
from gradgate.errors import ConfigError, DataError
from gradgate.gate.config import GateConfig
from gradgate.signing.keys import by_operator
from gradgate.train.config import GatedFinetuneConfig
from tasks import tracking
from tasks.retries import OPTIONS
from tasks.run import GateRun, tracked_id
from tasks.signing import signer_of

logger = logging.getLogger("gradgate.tasks")


def earlier_run(name: str, revoked: Path | None) -> EarlierRun:
    """A run whose files are those of its verdict; no task, for it holds the gate's key."""
    find_revoked = partial(revoked_by_operator, key=None, revoked=revoked)
    return open_run(find_run(name), _signer, find_revoked)


def _signer(config: AttestationConfig) -> CryptoSigner | None:
    return signer_of(by_operator(config))


def config_of(earlier: EarlierRun) -> GateConfig:
    """The configuration of a run, with its fine-tuning where it had one.

    Raises:
        ConfigError: It needs credentials, which no record has.
    """
    model = GatedFinetuneConfig if "finetune" in earlier.settings else GateConfig
    origin = f"the settings in {earlier.folder.attestation}"
    config = check_config(earlier.settings, model, origin)
    if config.tracking.uri is not None and HIDDEN in config.tracking.uri:
        raise ConfigError(
            "tracking.uri of the run had credentials, which are not kept, so that MLflow cannot be "
            "reached; nothing was recorded. Decide with `gradgate approve`, and run the gate again"
        )
    return config.model_copy(update={"attestation": by_operator(config.attestation)})


@task(**OPTIONS)
def record_decision(run: str, revoked: Path | None, decided: Decided) -> None:
    """Write a decision into the log."""
    for entry, digest in record(earlier_run(run, revoked), decided):
        logger.info("%s %s by %s: entry %s", entry.action, entry.chosen, entry.by, digest)


@task(**OPTIONS)
def tag_with_earlier(run: GateRun, earlier: RunFolder) -> None:
    """Say in MLflow which run this one goes on with, by its folder and by its id there."""
    tags = {"gradgate.goes_on_with": earlier.path.resolve().name}
    try:
        tags["gradgate.goes_on_with_run"] = tracked_id(earlier)
    except DataError as error:
        logger.info("the earlier run is in no MLflow: %s", error)
    tracking.set_tags(run.tracked, tags)
