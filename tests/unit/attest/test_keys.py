"""Keys are made once, read from everywhere, and shown nowhere."""

import stat
from pathlib import Path

import pytest
from attest_helpers import Attested, gate_config, pairs
from cli_helpers import gradgate
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key

from gradgate.attest.issuing import run_attested_gate
from gradgate.common.run_folder import RunFolder
from gradgate.config import AttestationConfig, check_config
from gradgate.errors import ConfigError
from gradgate.gate.config import GateConfig
from gradgate.signing.keys import VARIABLE, make_key, public_keys, signer_of
from helpers import write_jsonl


@pytest.fixture(autouse=True)
def no_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)


def test_a_new_key(tmp_path: Path) -> None:
    public, keyid = make_key(tmp_path / "key")
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600
    assert public == tmp_path / "key.pub"
    assert list(public_keys(public)) == [keyid]
    signer = signer_of(AttestationConfig(key=str(tmp_path / "key")))
    assert signer is not None
    assert signer.public_key.keyid == keyid


@pytest.mark.parametrize("name", ["key", "key.pub"])
def test_no_key_is_overwritten(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("mine")
    with pytest.raises(ConfigError, match=f"{name} exists"):
        make_key(tmp_path / "key")
    assert (tmp_path / name).read_text() == "mine"
    assert len(list(tmp_path.iterdir())) == 1


def test_keygen(tmp_path: Path) -> None:
    made = gradgate("attest", "keygen", tmp_path / "key")
    assert made.exit_code == 0
    assert made.stdout == f"key {next(iter(public_keys(tmp_path / 'key.pub')))}\n"
    assert "PRIVATE" not in made.stderr
    again = gradgate("attest", "keygen", tmp_path / "key")
    assert again.exit_code == 2
    assert "no key is ever overwritten" in again.stderr
    nowhere = gradgate("attest", "keygen", tmp_path / "no" / "key")
    assert nowhere.exit_code == 2
    assert "No such file" in nowhere.stderr


@pytest.mark.parametrize("as_file", [True, False])
def test_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, as_file: bool) -> None:
    path = tmp_path / "key"
    _, keyid = make_key(path)
    monkeypatch.setenv(VARIABLE, str(path) if as_file else path.read_text())
    signer = signer_of(AttestationConfig())
    assert signer is not None
    assert signer.public_key.keyid == keyid


def test_without_a_key() -> None:
    assert signer_of(AttestationConfig()) is None
    with pytest.raises(ConfigError, match="required asks for a signature"):
        signer_of(AttestationConfig(required=True))


def private(key: object, password: bytes | None = None) -> str:
    kind = serialization.PrivateFormat.PKCS8
    how = serialization.NoEncryption()
    if password is not None:
        how = serialization.BestAvailableEncryption(password)  # type: ignore[assignment]
    return key.private_bytes(serialization.Encoding.PEM, kind, how).decode()  # type: ignore[attr-defined]


def test_keys_that_cannot_sign(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    good = private(Ed25519PrivateKey.generate())
    wrong = {
        "no unencrypted private key": private(Ed25519PrivateKey.generate(), b"secret"),
        "no Ed25519 key": private(generate_private_key(65537, 2048)),
        "is no unencrypted": good[:60],
    }
    for match, text in wrong.items():
        (tmp_path / "key").write_text(text)
        monkeypatch.setenv(VARIABLE, text)
        for config in (AttestationConfig(key=str(tmp_path / "key")), AttestationConfig()):
            with pytest.raises(ConfigError, match=match) as caught:
                signer_of(config)
            assert text.splitlines()[1][:16] not in str(caught.value)
    with pytest.raises(ConfigError, match="cannot be read"):
        signer_of(AttestationConfig(key=str(tmp_path / "nothing")))
    with pytest.raises(ConfigError, match="only the flows read"):
        signer_of(AttestationConfig(key="prefect:gate"))


def test_a_key_in_the_configuration_is_refused_and_not_repeated() -> None:
    text = private(Ed25519PrivateKey.generate())
    content = {"data": {"source": "x"}, "model": {"path": "m"}, "attestation": {"key": text}}
    with pytest.raises(ConfigError, match="holds a key and not the name of its file") as caught:
        check_config(content, GateConfig, "gate.yaml")
    assert text.splitlines()[1] not in str(caught.value)


def test_files_of_public_keys(tmp_path: Path) -> None:
    make_key(tmp_path / "a")
    make_key(tmp_path / "b")
    both = tmp_path / "both.pub"
    both.write_text((tmp_path / "a.pub").read_text() + "\n" + (tmp_path / "b.pub").read_text())
    assert len(public_keys(both)) == 2
    text = (tmp_path / "a.pub").read_text()
    wrong = {
        "is a private key, which stays": (tmp_path / "a").read_text(),
        "no public keys": "nothing",
        "something besides": f"{text}more",
        "damaged": text.replace("MCow", "MCox"),
    }
    for match, content in wrong.items():
        (tmp_path / "key").write_text(content)
        with pytest.raises(ConfigError, match=match):
            public_keys(tmp_path / "key")


def test_nothing_begins_without_a_key_that_is_required(tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "rows.jsonl", pairs())
    config = gate_config(source, attestation={"required": True})
    with pytest.raises(ConfigError, match="there is no key"):
        run_attested_gate(config, RunFolder(tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_no_file_of_a_run_holds_the_private_key(attested: Attested) -> None:
    secret = (attested.folder / "key").read_text().splitlines()[1].encode()
    files = [path for path in attested.run.path.rglob("*") if path.is_file()]
    assert attested.attestation in files
    assert not [path for path in files if secret in path.read_bytes()]
