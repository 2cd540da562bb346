"""Let what people have decided take effect."""

from prefect import task

from gradgate.common.run_folder import RunFolder
from gradgate.gate.config import GateConfig
from gradgate.gate.pipeline import Detected
from gradgate.gate.pipeline import honour as honour_core
from tasks.retries import OPTIONS
from tasks.signing import signer_of


@task(**OPTIONS)
def honour(detected: Detected, config: GateConfig, folder: RunFolder) -> Detected:
    """Write the column `approved` of flags.parquet, and the lists of rows anew."""
    signer = signer_of(config.attestation) if config.approvals.who else None
    return honour_core(detected, config, folder, signer)
