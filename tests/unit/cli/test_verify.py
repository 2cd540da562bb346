"""`gradgate verify` and the attestation of `gradgate detect`, as they are typed."""

import shutil
from pathlib import Path

import pytest
from attest_helpers import Attested, pairs, write_attested
from cli_helpers import Done, gradgate

from gradgate.attest.envelope import read_envelope
from helpers import MODEL, write_jsonl


@pytest.fixture(scope="module")
def attested(tmp_path_factory: pytest.TempPathFactory) -> Attested:
    return write_attested(tmp_path_factory.mktemp("attested"))


def verify(attested: Attested, data: object, *options: object) -> Done:
    return gradgate("verify", attested.attestation, "--data", data, *options)


def test_what_holds(attested: Attested, tmp_path: Path) -> None:
    digest, keyid = read_envelope(attested.attestation).digest, attested.signer.public_key.keyid
    done = verify(attested, attested.data, "--key", attested.key, "--model", MODEL)
    assert done.exit_code == 0
    assert done.stdout == (
        f"verified: 48 rows, the very file of the gate; attestation {digest}\nsigned by {keyid}\n"
    )
    assert done.stderr == ""
    rows = write_jsonl(tmp_path / "rows.jsonl", attested.rows)
    rows.write_text(rows.read_text() + "\n")
    done = verify(attested, rows, "--key", attested.key)
    assert (done.exit_code, "48 rows, by their samples" in done.stdout) == (0, True)
    assert done.stderr.splitlines() == [
        "not compared, for no method has read them: columns id",
        "not compared: the model (--model)",
    ]


def test_a_folder_with_splits(attested: Attested, tmp_path: Path) -> None:
    write_jsonl(tmp_path / "train.jsonl", attested.rows)
    write_jsonl(tmp_path / "test.jsonl", attested.rows[:3])
    train = verify(attested, tmp_path, "--key", attested.key, "--split", "train")
    assert train.exit_code == 0, train.stderr
    test = verify(attested, tmp_path, "--key", attested.key, "--split", "test")
    assert (test.exit_code, test.stdout) == (1, "")
    assert test.stderr == "refused: the data have 3 rows, and 48 were accepted\n"
    both = verify(attested, tmp_path, "--key", attested.key)
    assert both.exit_code == 2
    assert "data.split" in both.stderr


def test_refusals_are_lines_and_exit_1(attested: Attested, tmp_path: Path) -> None:
    model = tmp_path / "model"
    shutil.copytree(MODEL, model)
    (model / "config.json").write_text((MODEL / "config.json").read_text() + " ")
    listed = tmp_path / "revoked"
    listed.write_text(attested.signer.public_key.keyid)
    done = verify(
        attested, attested.data, "--key", attested.key, "--model", model, "--revoked", listed
    )
    assert (done.exit_code, done.stdout) == (1, "")
    first, second = done.stderr.splitlines()
    assert first == f"refused: the key {attested.signer.public_key.keyid} is revoked"
    assert second.startswith(f"refused: model {model} is not the one that judged the data")


def test_what_cannot_run_exits_2(attested: Attested, tmp_path: Path) -> None:
    nothing = tmp_path / "nothing"
    for done, text in {
        verify(attested, nothing, "--key", attested.key): "no such file or folder",
        verify(attested, attested.data, "--key", nothing): "cannot be read",
        verify(attested, attested.data): "name the gate's public key (--key)",
        verify(attested, attested.data, "--key", attested.folder / "key"): "is a private key",
        verify(attested, attested.data, "--key", attested.key, "--revoked", nothing): "revoked",
        verify(
            attested, attested.data, "--key", attested.key, "--model", tmp_path / "no" / "model"
        ): "no such folder",
        verify(
            attested, attested.data, "--key", attested.key, "--adapter", tmp_path
        ): "name that too (--model)",
        gradgate("verify", nothing, "--data", attested.data): "cannot be read",
        gradgate("verify", attested.attestation): "--data",
    }.items():
        assert (done.exit_code, done.stdout) == (2, "")
        assert text in done.stderr


def test_detect_leaves_an_attestation(tmp_path: Path, fresh_state: Path) -> None:
    assert gradgate("attest", "keygen", tmp_path / "key").exit_code == 0
    source = write_jsonl(tmp_path / "rows.jsonl", pairs())
    common = [source, "--model", MODEL, "--no-power", "--output", tmp_path / "flags.parquet"]
    common += ["--attestation.key", tmp_path / "key", "--attestation.valid_days", "1"]
    lenient = ["--policy.max_poison_fraction", "0.6", "--policy.review_above", "0.5"]
    attestation = tmp_path / "flags.attestation.json"
    checked = ["verify", attestation, "--key", tmp_path / "key.pub", "--data"]
    done = gradgate("detect", *common, *lenient)
    assert done.exit_code == 0, done.stderr
    assert f"            {attestation}\n" in done.stderr
    found = gradgate(*checked, tmp_path / "flags.rows" / "accepted.jsonl")
    assert (found.exit_code, "48 rows" in found.stdout) == (0, True)
    said = read_envelope(attestation).statement["predicate"]
    assert said["run"] == {"folder": "flags.rows", "mlflow": None, "prefect": None}
    # The next verdict takes the place of the first one.
    done = gradgate("detect", *common)
    assert done.exit_code in (1, 3), done.stderr
    found = gradgate(*checked, tmp_path / "flags.rows" / "quarantine.jsonl")
    assert found.exit_code == 1
    assert "and only a pass lets anybody train" in found.stderr


def test_detect_begins_nothing_without_a_required_key(
    tmp_path: Path, fresh_state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GRADGATE_SIGNING_KEY", raising=False)
    source = write_jsonl(tmp_path / "rows.jsonl", pairs())
    output = tmp_path / "out" / "flags.parquet"
    command = ["detect", source, "--model", MODEL, "--output", output, "--attestation.required"]
    done = gradgate(*command)
    assert done.exit_code == 2
    assert "set attestation.key or the variable GRADGATE_SIGNING_KEY" in done.stderr
    assert "fetched" not in done.stderr
    assert not list(output.parent.iterdir())
