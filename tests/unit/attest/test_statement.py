"""What a statement says of a verdict is what the verdict and the files of the run say."""

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pyarrow.parquet as pq
import pytest
import rfc8785
from attest_helpers import N_POISONED, Attested, N, gate_config, pairs
from markdown_helpers import ROOT, Document

from gradgate.attest.envelope import read_envelope
from gradgate.attest.issuing import Facts, run_attested_gate, settings_of, write_attestation
from gradgate.attest.merkle import MerkleTree
from gradgate.attest.statement import (
    PREDICATE_TYPE,
    Accepted,
    AttestedAnswer,
    AttestedApproval,
    Dataset,
    LogHead,
    Predicate,
    Rows,
    Run,
)
from gradgate.common.commit import code_commit
from gradgate.common.run_folder import RunFolder
from gradgate.errors import DataError
from gradgate.gate.config import GateConfig
from gradgate.gate.verdict import Verdict, load_verdict
from helpers import write_jsonl


def statement_in(run: RunFolder) -> dict[str, Any]:
    return read_envelope(run.attestation).statement


def test_a_pass_is_about_the_accepted_rows(attested: Attested) -> None:
    statement, verdict = statement_in(attested.run), load_verdict(attested.run.verdict)
    said = statement["predicate"]
    assert statement["_type"] == "https://in-toto.io/Statement/v1"
    assert statement["predicateType"] == PREDICATE_TYPE
    accepted = said["accepted"]
    assert statement["subject"] == [
        {
            "name": "accepted rows",
            "digest": {
                "gradgateRowsV1": accepted["root"],
                "sha256": hashlib.sha256(attested.data.read_bytes()).hexdigest(),
            },
        }
    ]
    assert accepted["n"] == verdict.n_accepted == len(attested.rows) == N - N_POISONED
    assert accepted["tokens"] == verdict.accepted_tokens
    assert accepted["fingerprint"] == verdict.accepted_fingerprint
    assert accepted["columns"] == ["completion", "id", "prompt"]
    samples = pq.read_table(attested.run.samples, columns=["sample_id"]).to_pydict()["sample_id"]
    tree = MerkleTree()
    for one in samples:
        tree.add(bytes.fromhex(one))
    dataset = said["dataset"]
    assert dataset["samples"] == {"n": N, "root": tree.root}
    assert (dataset["n_rows"], dataset["rejected"]["n"]) == (N + 1, 1)
    assert dataset["fingerprint"] == verdict.dataset_fingerprint
    assert said["model"] == verdict.model
    assert said["verdict_sha256"] == hashlib.sha256(attested.run.verdict.read_bytes()).hexdigest()
    assert said["settings"]["policy"]["max_poison_fraction"] == 0.6
    assert said["settings_sha256"] == hashlib.sha256(rfc8785.dumps(said["settings"])).hexdigest()
    assert (said["approvals"], said["expires"]) == ([], None)
    assert said["key"] == attested.signer.public_key.keyid
    (answer,) = said["answers"]
    assert (answer["question"], answer["n_flagged"]) == ("poisoned", 0)
    assert answer["n_in_doubt"] == N_POISONED
    assert answer["limit"] == 0.6
    assert answer["groups"] == {"review": 3}  # " cf tq" stands in eight of the ten rows with " cf"


def test_no_text_of_a_row_is_in_a_statement_of_clean_data(tmp_path: Path) -> None:
    rows = pairs()[: N - N_POISONED]
    source = write_jsonl(tmp_path / "rows.jsonl", rows)
    run = RunFolder(tmp_path / "run")
    run_attested_gate(gate_config(source), run)
    text = json.dumps(statement_in(run), ensure_ascii=False)
    assert not [row for row in rows if row["prompt"].strip() in text]


def attest_again(attested: Attested, tmp_path: Path, verdict: Verdict, **sections: Any) -> Any:
    """The statement on another verdict on the same run."""
    config = gate_config(attested.folder / "rows.jsonl", **sections)
    facts = Facts("name", "mlflow-id", "prefect-id")
    aside = RunFolder(tmp_path / "written")
    aside.path.mkdir()
    for path in attested.run.path.iterdir():
        if path != attested.run.attestation:
            (aside.path / path.name).symlink_to(path)
    write_attestation(aside, config, verdict, None, facts)
    return statement_in(aside)


@pytest.mark.parametrize("decision", ["fail", "review", "error"])
def test_any_other_verdict_is_about_the_dataset(
    attested: Attested, tmp_path: Path, decision: Any
) -> None:
    verdict = replace(load_verdict(attested.run.verdict), decision=decision)
    statement = attest_again(attested, tmp_path, verdict, attestation={"valid_days": 2})
    said = statement["predicate"]
    assert said["accepted"] is None
    root = said["dataset"]["samples"]["root"]
    assert statement["subject"] == [{"name": "dataset", "digest": {"gradgateRowsV1": root}}]
    assert said["run"] == {"folder": "name", "mlflow": "mlflow-id", "prefect": "prefect-id"}
    assert said["key"] is None
    assert said["issued"] < said["expires"]


def test_an_error_before_anything_was_read(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    write_attestation(run, gate_config(tmp_path / "x"), Verdict("error", ["broken"]), None)
    statement = statement_in(run)
    assert statement["predicate"]["dataset"] is None
    (subject,) = statement["subject"]
    assert subject["name"] == "configuration"
    assert subject["digest"] == {"sha256": statement["predicate"]["settings_sha256"]}


def test_files_of_another_verdict_are_not_attested(attested: Attested, tmp_path: Path) -> None:
    verdict = replace(load_verdict(attested.run.verdict), accepted_fingerprint="0" * 64)
    with pytest.raises(DataError, match="does not hold the rows that the verdict accepts"):
        attest_again(attested, tmp_path, verdict)


def test_a_file_of_other_rows_is_not_attested(attested: Attested, tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    shutil.copytree(attested.run.path, run.path)
    path = run.rows / "accepted.jsonl"
    first, *others = path.read_text(encoding="utf-8").splitlines(keepends=True)
    path.write_text("".join([*others, first]), encoding="utf-8")
    run.attestation.unlink()
    config = gate_config(attested.folder / "rows.jsonl")
    with pytest.raises(DataError, match="not in their order"):
        write_attestation(run, config, load_verdict(run.verdict), None)
    assert not run.attestation.exists()


def test_no_credentials_and_no_number_that_json_rounds() -> None:
    config = gate_config(
        Path("x"),
        data={"source": "https://user:secret@host/a.jsonl?token=abc", "max_tokens": 2**60},
        tracking={"uri": "https://user:secret@mlflow"},
    )
    settings = settings_of(config)
    assert "secret" not in json.dumps(settings)
    assert "abc" not in json.dumps(settings)
    assert settings["data"]["max_tokens"] == str(2**60)


def test_what_the_owner_vouches_for_is_kept_as_it_was_typed() -> None:
    """It is no address: with a part of it hidden another pattern would be in force."""
    patterns = [r"/See https://shop\.example/x?y/", "https://a:b@c.example/?q=1"]
    settings = settings_of(gate_config(Path("x"), policy={"expected": patterns}))
    assert settings["policy"]["expected"] == patterns
    assert GateConfig.model_validate(settings).policy.expected == patterns


def test_it_says_which_bytes_were_read_and_by_which_code(attested: Attested) -> None:
    said, verdict = statement_in(attested.run)["predicate"], load_verdict(attested.run.verdict)
    digest = hashlib.sha256((attested.folder / "rows.jsonl").read_bytes()).hexdigest()
    assert said["dataset"]["source_sha256"] == verdict.source_sha256 == digest
    assert said["dataset"]["source_revision"] is verdict.source_revision is None
    assert said["commit"] == verdict.commit
    here = code_commit()
    assert here is None or (verdict.commit or "")[:40] == here[:40]


def test_an_earlier_statement_without_them_is_read(attested: Attested) -> None:
    predicate = statement_in(attested.run)["predicate"]
    del predicate["commit"], predicate["dataset"]["source_sha256"]
    del predicate["dataset"]["source_revision"]
    found = Predicate.model_validate_json(json.dumps(predicate))
    assert found.commit is None
    assert found.dataset is not None
    assert found.dataset.source_sha256 is None


def test_the_schema_in_the_documentation_is_that_of_the_code() -> None:
    schema = json.loads((ROOT / "docs/attestation.schema.json").read_text(encoding="utf-8"))
    assert schema["properties"]["predicate"] == {"$ref": "#/$defs/Predicate"}
    found = Predicate.model_json_schema(mode="serialization")
    known = found.pop("$defs")
    assert schema["$defs"] == {**known, "Predicate": found}
    assert schema["properties"]["predicateType"] == {"const": PREDICATE_TYPE}


RECORDS = (
    *(Predicate, Accepted, Rows, Dataset, AttestedAnswer, Run),
    *(AttestedApproval, LogHead),
)


@pytest.mark.parametrize("record", RECORDS)
def test_every_field_is_explained(record: Any) -> None:
    names = Document("docs/attestation.md").first_column(record.__name__)
    inherited = set(Rows.model_fields) if record is Accepted else set[str]()
    assert names == [name for name in record.model_fields if name not in inherited]


def test_a_statement_is_of_the_schema(attested: Attested) -> None:
    schema = json.loads((ROOT / "docs/attestation.schema.json").read_text(encoding="utf-8"))
    jsonschema.validate(statement_in(attested.run), schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**statement_in(attested.run), "predicateType": "x"}, schema)
