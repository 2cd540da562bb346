"""Ed25519 keys: made, and read from files and from the environment. A private key is never shown.

A signer is made of PEM text alone, wherever it came from. No error quotes that text.
"""

import os
import re
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from securesystemslib.signer import CryptoSigner, SSlibKey

from gradgate.config import AttestationConfig
from gradgate.errors import ConfigError

VARIABLE = "GRADGATE_SIGNING_KEY"
PREFECT = "prefect:"
_CURE = "make one by `gradgate attest keygen PATH`"
_PUBLIC = re.compile(r"-----BEGIN PUBLIC KEY-----.*?-----END PUBLIC KEY-----", re.DOTALL)


def make_key(path: Path, for_models: bool = False) -> tuple[Path, str]:
    """Write a new private key, which only its owner may read, and the public one beside it.

    Args:
        path: Of the private key; neither it nor `path`.pub may be there.
        for_models: ECDSA on P-256, for signatures of models, instead of Ed25519.

    Returns:
        The path of the public key, and its id.

    Raises:
        ConfigError: One of the files exists, or cannot be written.
    """
    public = path.with_name(f"{path.name}.pub")
    for file in (path, public):
        if file.exists() or file.is_symlink():
            raise ConfigError(f"{file} exists, and no key is ever overwritten; name another path")
    key = ec.generate_private_key(ec.SECP256R1()) if for_models else Ed25519PrivateKey.generate()
    secret = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    shown = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    try:
        _write_new(path, secret, 0o600)
        _write_new(public, shown, 0o644)
    except OSError as error:
        raise ConfigError(f"the key cannot be written to {path}: {error.strerror}") from error
    return public, SSlibKey.from_crypto(key.public_key()).keyid


def _write_new(path: Path, content: bytes, mode: int) -> None:
    number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(number, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(number)


def signer_of(config: AttestationConfig) -> CryptoSigner | None:
    """Who signs: the key of the configuration, or else of the environment.

    Returns:
        None where there is no key and none is required.

    Raises:
        ConfigError: The key cannot be used, or is required and not there.
    """
    if config.key is not None and config.key.startswith(PREFECT):
        raise ConfigError(
            f"attestation.key {config.key} is a block of Prefect, which only the flows read; name "
            "a file here (--attestation.key FILE)"
        )
    if config.key is not None:
        return signer_from_file(Path(config.key), "attestation.key")
    given = os.environ.get(VARIABLE, "")
    if given.strip():
        file = key_file(config)
        return signer_from(given, VARIABLE) if file is None else signer_from_file(file, VARIABLE)
    if config.required:
        raise ConfigError(
            "attestation.required asks for a signature, and there is no key: set attestation.key "
            f"or the variable {VARIABLE}; {_CURE}"
        )
    return None


def key_file(config: AttestationConfig) -> Path | None:
    """The file of the key that `signer_of` takes; None where there is none, or it is in no file."""
    if config.key is not None:
        return None if config.key.startswith(PREFECT) else Path(config.key)
    given = os.environ.get(VARIABLE, "")
    return Path(given) if given.strip() and "-----BEGIN" not in given else None


def by_operator(config: AttestationConfig) -> AttestationConfig:
    """What a run says of its key, unless the operator has set the environment's.

    That goes before what the run names: whoever can write a folder of a run could name a key of
    their own.
    """
    is_set = bool(os.environ.get(VARIABLE, "").strip())
    return config.model_copy(update={"key": None}) if is_set else config


def operator_signer(config: AttestationConfig, key: Path | None) -> CryptoSigner | None:
    """Who signs what is said of a run that lies in a folder, see `by_operator`.

    Args:
        config: Of the run.
        key: File of the private key, as it was typed.

    Raises:
        ConfigError: As for `signer_of`.
    """
    if key is not None:
        return signer_from_file(key, "--key")
    config = by_operator(config)
    if config.key is not None and config.key.startswith(PREFECT):
        raise ConfigError(
            f"the run was signed by {config.key}, a block of Prefect, which only the flows read; "
            "name a file (--key FILE), or use `python -m flows approve`"
        )
    return signer_of(config)


def signer_from_file(path: Path, origin: str) -> CryptoSigner:
    """The signer of a file; `origin`: who named it. Errors as for `signer_from`."""
    try:
        text = path.read_text(encoding="ascii")
    except OSError as error:
        raise ConfigError(f"{origin}: {path} cannot be read: {error.strerror}; {_CURE}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{origin}: {path} holds no PEM; {_CURE}") from error
    return signer_from(text, f"{origin}: {path}")


def signer_from(pem: str, origin: str) -> CryptoSigner:
    """The signer of a private key.

    Args:
        pem: PKCS #8, not encrypted.
        origin: Where it came from, for errors.

    Raises:
        ConfigError: It is no such key.
    """
    try:
        key = serialization.load_pem_private_key(pem.encode("ascii"), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):  # TypeError: it is encrypted
        raise ConfigError(f"{origin} is no unencrypted private key in PEM; {_CURE}") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise ConfigError(f"{origin} is no Ed25519 key; {_CURE}")
    return CryptoSigner(key)


def public_keys(path: Path) -> dict[str, SSlibKey]:
    """The public keys of a file by their ids: one, or several below one another.

    Raises:
        ConfigError: It cannot be read, or holds none, or something else.
    """
    try:
        text = path.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"the key {path} cannot be read: {error}") from error
    if "PRIVATE KEY" in text:
        raise ConfigError(f"{path} is a private key, which stays with the gate; name {path}.pub")
    blocks = _PUBLIC.findall(text)
    if not blocks or _PUBLIC.sub("", text).strip():
        raise ConfigError(f"{path} holds no public keys in PEM, or something besides; {_CURE}")
    return {key.keyid: key for key in (_public_key(block, path) for block in blocks)}


def _public_key(pem: str, path: Path) -> SSlibKey:
    try:
        key = serialization.load_pem_public_key(pem.encode("ascii"))
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ConfigError(f"{path} holds a damaged public key; {_CURE}") from error
    if not isinstance(key, Ed25519PublicKey):
        raise ConfigError(f"{path} holds a key that is no Ed25519 key; {_CURE}")
    return SSlibKey.from_crypto(key)
