"""The attestation of a run is checked before it is trained on, and named in the model card."""

import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from attest_helpers import Attested, Row, in_days, stranger, write_attested
from model_signing import verifying
from securesystemslib.signer import CryptoSigner, SSlibKey

from gradgate.attest.envelope import read_envelope
from gradgate.attest.model_signature import sign_folder
from gradgate.common.run_folder import RunFolder
from gradgate.config import FinetuneConfig, ModelConfig
from gradgate.gate.acceptance import NotAcceptedError
from gradgate.gate.verdict import Verdict, load_verdict
from gradgate.signing.keys import make_key
from gradgate.train.finetune import AttestationCheck, FinetuneResult, PassedRun, finetune
from helpers import MODEL

QUICK = FinetuneConfig(epochs=1, batch_size=16, target_modules=["q_proj"])


@pytest.fixture(scope="module")
def attested(tmp_path_factory: pytest.TempPathFactory) -> Attested:
    return write_attested(tmp_path_factory.mktemp("attested"))


def train(
    run: RunFolder,
    verdict: Verdict,
    output: Path,
    key: SSlibKey | None,
    attested: bool = False,
    model_key: Path | None = None,
) -> FinetuneResult:
    model = ModelConfig(path=str(MODEL), device="cpu", dtype="float32")
    signer = str(model_key) if model_key else None
    passed, check = PassedRun(run.path, verdict, "run-7", "rows"), AttestationCheck(key, attested)
    return finetune(passed, model, QUICK, output, check, signer)


def verifies(folder: Path, key: Path) -> bool:
    config = verifying.Config().use_elliptic_key_verifier(public_key=key)
    try:
        config.verify(folder, folder / "model.sig")
    except ValueError:
        return False
    return True


def command_verifies(folder: Path, key: Path) -> bool:
    """What model_signing's own command says."""
    command = [sys.executable, "-m", "model_signing", "verify", "key", str(folder)]
    command += ["--signature", str(folder / "model.sig"), "--public_key", str(key)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode in (0, 1), done.stderr
    assert ("Verification succeeded" in done.stdout) == (done.returncode == 0)
    return done.returncode == 0


def test_the_signed_folder_names_the_attestation(attested: Attested, tmp_path: Path) -> None:
    key = attested.signer.public_key
    verdict = load_verdict(attested.run.verdict)
    public, _ = make_key(tmp_path / "model-key", for_models=True)
    other, _ = make_key(tmp_path / "other-key", for_models=True)
    adapter = tmp_path / "adapter"
    train(attested.run, verdict, adapter, key, True, tmp_path / "model-key")
    digest = read_envelope(attested.attestation).digest
    assert read_envelope(adapter / "attestation.json").digest == digest
    assert not list(adapter.glob("work"))
    assert command_verifies(adapter, public)
    assert not command_verifies(adapter, other)
    moved = adapter.rename(tmp_path / "another name")
    assert verifies(moved, public)
    (moved / "added.json").write_text("{}")
    assert not verifies(moved, public)
    (moved / "added.json").unlink()
    card = moved / "README.md"
    card.write_text(card.read_text().replace("`pass`", "`fail`"))
    assert not verifies(moved, public)
    sign_folder(moved, str(tmp_path / "model-key"))
    assert verifies(moved, public)


def copy_of(attested: Attested, tmp_path: Path) -> RunFolder:
    run = RunFolder(tmp_path / "run")
    shutil.copytree(attested.run.path, run.path)
    return run


def refusal(run: RunFolder, verdict: Verdict, key: SSlibKey | None, attested: bool = False) -> str:
    output = run.path.with_name("adapter")
    with pytest.raises(NotAcceptedError) as caught:
        train(run, verdict, output, key, attested)
    assert not output.exists()
    return str(caught.value)


def test_forged_and_old_ones(attested: Attested, tmp_path: Path) -> None:
    run, verdict = copy_of(attested, tmp_path), load_verdict(attested.run.verdict)
    signer, other = attested.signer, stranger()
    old: Row = {"expires": in_days(-1), "issued": in_days(-2)}
    cases: list[tuple[Row, CryptoSigner | None, bool, str]] = [
        ({}, other, False, "is not signed by the gate's key"),
        ({}, None, False, "is not signed by the gate's key"),
        ({"key": other.public_key.keyid}, signer, True, "another key than it says"),
        ({"verdict_sha256": "0" * 64}, signer, False, "is on another verdict"),
        (old, signer, False, "it expired"),
    ]
    for changes, who, keeps_key, text in cases:
        attested.sealed_with(run.attestation, changes, who, keeps_key)
        assert text in refusal(run, verdict, signer.public_key)
    run.attestation.write_bytes(attested.attestation.read_bytes()[:-9])
    assert "no DSSE envelope" in refusal(run, verdict, signer.public_key)


def test_a_verdict_other_than_the_attested_one(attested: Attested, tmp_path: Path) -> None:
    run, verdict = copy_of(attested, tmp_path), load_verdict(attested.run.verdict)
    changed = replace(verdict, in_doubt="keep")
    assert "is on another verdict" in refusal(run, changed, attested.signer.public_key)


def test_without_a_key(attested: Attested, tmp_path: Path) -> None:
    run, verdict = copy_of(attested, tmp_path), load_verdict(attested.run.verdict)
    assert "no key to check that by" in refusal(run, verdict, None)
    assert "is required, and there is no key" in refusal(run, verdict, None, attested=True)
    attested.sealed_with(run.attestation, {"verdict_sha256": "0" * 64}, None)
    assert "is on another verdict" in refusal(run, verdict, None)


def test_a_missing_one(attested: Attested, tmp_path: Path) -> None:
    run, verdict = copy_of(attested, tmp_path), load_verdict(attested.run.verdict)
    run.attestation.unlink()
    key = attested.signer.public_key
    assert "has no attestation, and one is required" in refusal(run, verdict, key, attested=True)
    train(run, verdict, tmp_path / "adapter", key)
    assert "| Attestation | none |" in (tmp_path / "adapter" / "README.md").read_text()
