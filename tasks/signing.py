"""Who signs a flow's attestations: a file, the environment, or a Secret block of Prefect."""

from typing import Any, cast

from prefect.blocks.system import Secret
from securesystemslib.signer import CryptoSigner

from gradgate.config import AttestationConfig
from gradgate.errors import ConfigError
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
