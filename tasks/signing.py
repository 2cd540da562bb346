"""Who signs the attestations of flows: a file, the environment, or a Secret block of Prefect."""

from typing import Any, cast

from prefect.blocks.system import Secret
from securesystemslib.signer import CryptoSigner

from gradgate.attest.envelope import read_envelope
from gradgate.common.run_folder import RunFolder
from gradgate.config import AttestationConfig
from gradgate.errors import ConfigError, GradgateError
from gradgate.signing.keys import PREFECT, signer_from
from gradgate.signing.keys import signer_of as signer_of_core


def signer_of(config: AttestationConfig) -> CryptoSigner | None:
    """As `gradgate.signing.keys.signer_of`, and of blocks as well.

    Raises:
        ConfigError: The key cannot be used, or is required and not there.
    """
    if config.key is None or not config.key.startswith(PREFECT):
        return signer_of_core(config)
    name = config.key.removeprefix(PREFECT)
    try:
        pem = cast(Secret[Any], Secret.load(name)).get()
    except ValueError as error:  # Prefect's word for a block that is not there
        raise ConfigError(
            f"attestation.key {config.key}: Prefect has no Secret block {name!r}; make it on its "
            "page (Blocks, Secret) with the PEM of the private key"
        ) from error
    return signer_from(str(pem), f"attestation.key {config.key}")


def attestation_of(folder: RunFolder) -> dict[str, Any] | None:
    """Digest of the attestation, and the key that it says has signed it; None without one."""
    try:
        sealed = read_envelope(folder.attestation)
    except GradgateError:
        return None
    return {"sha256": sealed.digest, "key": sealed.statement["predicate"]["key"]}
