"""The signature of a folder with what was trained, in the format of OpenSSF Model Signing (OMS).

OMS knows ECDSA keys on NIST's curves and no Ed25519, so this key is another than the gate's.
"""

from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from gradgate.errors import ConfigError, DataError

SIGNATURE = "model.sig"
_CURVES = (ec.SECP256R1, ec.SECP384R1, ec.SECP521R1)
_CURE = "make one by `gradgate attest keygen PATH --for-models`"


def check_model_key(key: str | None) -> None:
    """Check that what is trained could be signed; nothing to check where no key is named.

    Raises:
        ConfigError: The key cannot be used, or the package is not installed.
    """
    if key is None:
        return
    try:
        found = serialization.load_pem_private_key(Path(key).read_bytes(), password=None)
    except OSError as error:
        raise ConfigError(
            f"attestation.model_key: {key} cannot be read: {error.strerror}; {_CURE}"
        ) from error
    except (ValueError, TypeError, UnsupportedAlgorithm):  # TypeError: it is encrypted
        raise ConfigError(
            f"attestation.model_key: {key} is no unencrypted private key in PEM; {_CURE}"
        ) from None
    if not isinstance(found, ec.EllipticCurvePrivateKey) or not isinstance(found.curve, _CURVES):
        raise ConfigError(
            f"attestation.model_key: {key} is no EC key on P-256, P-384 or P-521, and signatures "
            f"of models know no others; {_CURE}"
        )
    try:
        import model_signing.signing  # noqa: F401
    except ImportError as error:
        raise ConfigError(
            "attestation.model_key needs a package more: pip install 'gradgate[model-signing]'"
        ) from error


def sign_folder(folder: Path, key: str) -> Path:
    """Sign every file of a folder; a signature that is there is replaced.

    Args:
        folder: It may get another name afterwards.
        key: File of the private key.

    Returns:
        The signature, `model.sig` in the folder.

    Raises:
        ConfigError: As for `check_model_key`.
        DataError: A file cannot be read, or is a symbolic link.
    """
    check_model_key(key)
    from model_signing import hashing, signing

    signature = folder / SIGNATURE
    signature.unlink(missing_ok=True)
    hashed = hashing.Config().set_ignored_paths(paths=[SIGNATURE], ignore_git_paths=False)
    config = signing.Config().use_elliptic_key_signer(private_key=key)
    try:
        config.set_hashing_config(hashed).sign(folder, signature)
    except (OSError, ValueError) as error:
        raise DataError(f"{folder} cannot be signed: {error}") from error
    return signature
