"""The key that signs what was trained; tests/unit/train signs and verifies a folder."""

from pathlib import Path

import pytest
from cli_helpers import gradgate
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from pydantic import ValidationError

from gradgate.attest.model_signature import check_model_key, sign_folder
from gradgate.config import AttestationConfig
from gradgate.errors import ConfigError, DataError
from gradgate.signing.keys import make_key


def refusal(key: Path) -> str:
    with pytest.raises(ConfigError) as found:
        check_model_key(str(key))
    return str(found.value)


def test_keygen_for_models(tmp_path: Path) -> None:
    key = tmp_path / "key"
    made = gradgate("attest", "keygen", key, "--for-models")
    assert made.exit_code == 0
    assert "attestation.model_key" in made.stderr
    check_model_key(str(key))
    check_model_key(None)
    assert key.stat().st_mode & 0o777 == 0o600


def test_a_key_of_another_kind_is_refused(tmp_path: Path) -> None:
    make_key(tmp_path / "ed25519")
    assert "is no EC key on P-256, P-384 or P-521" in refusal(tmp_path / "ed25519")
    koblitz = ec.generate_private_key(ec.SECP256K1()).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    (tmp_path / "koblitz").write_bytes(koblitz)
    assert "is no EC key on P-256, P-384 or P-521" in refusal(tmp_path / "koblitz")
    make_key(tmp_path / "right", for_models=True)
    assert "is no unencrypted private key" in refusal(tmp_path / "right.pub")
    assert "gradgate attest keygen PATH --for-models" in refusal(tmp_path / "nothing")


def test_the_key_itself_is_no_setting() -> None:
    with pytest.raises(ValidationError, match="holds a key and not the name of its file"):
        AttestationConfig(model_key="-----BEGIN PRIVATE KEY-----\n")


def test_links_are_not_signed(tmp_path: Path) -> None:
    """What a link leads to may be another thing tomorrow."""
    make_key(tmp_path / "key", for_models=True)
    folder = tmp_path / "adapter"
    folder.mkdir()
    (folder / "README.md").symlink_to(tmp_path / "key.pub")
    with pytest.raises(DataError, match="cannot be signed"):
        sign_folder(folder, str(tmp_path / "key"))
    assert not (folder / "model.sig").exists()
