"""A person approves a review: the run goes on, trains, and later nights honour it."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from flow_helpers import config, finetune_config, folder_of, mlflow_runs, verdict_of
from pydantic import ValidationError

import gradgate
from flows.approve import approve
from flows.gate import gate
from flows.gated_finetune import gated_finetune
from flows.request import ApproveRequest
from gradgate.attest.envelope import read_envelope
from gradgate.cli.main import main
from gradgate.common.redaction import redacted
from gradgate.config import (
    ApprovalsConfig,
    AttestationConfig,
    FinetuneConfig,
    PolicyConfig,
    PowerConfig,
)
from gradgate.errors import ConfigError
from gradgate.gate.config import DetectionConfig
from gradgate.release.config import AdapterTestConfig
from gradgate.signing.keys import VARIABLE, make_key
from helpers import diverse_rows, one_subject, write_jsonl
from tasks.approve import config_of, earlier_run

pytestmark = pytest.mark.usefixtures("prefect_server")
N, N_DOUBTED = 130, 12
DETECTION = DetectionConfig(power=PowerConfig(attacks=[]), rehearsal="off")
POLICY = PolicyConfig(max_poison_fraction=0.07, review_above=0.02)
QUICK = FinetuneConfig(epochs=1, batch_size=32, target_modules=["q_proj"])


def digests(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_from_a_review_to_the_next_night(
    state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    make_key(tmp_path / "key")
    rows = [*diverse_rows(N), *one_subject(N_DOUBTED, seed=7)]
    source = write_jsonl(tmp_path / "rows.jsonl", rows)
    sections: dict[str, Any] = {
        "policy": POLICY,
        "detection": DETECTION,
        "approvals": ApprovalsConfig(who=["Ada"]),
        "attestation": AttestationConfig(key=str(tmp_path / "key"), required=True, valid_days=30),
    }
    behind = {"finetune": QUICK, "adapter_test": AdapterTestConfig(enabled=False)}
    first = gated_finetune(finetune_config(source, **sections, **behind), return_state=True)
    assert first.name == "NeedsReview", first.message
    earlier = folder_of(state, first)
    before = digests(earlier)

    # Credentials are in no record, so that such a run cannot go on.
    run = earlier_run(earlier.name, None)
    hidden = {**run.settings["tracking"], "uri": redacted("postgresql://ada:secret@db/mlflow")}
    with pytest.raises(ConfigError, match=r"had credentials, .* nothing was recorded"):
        config_of(replace(run, settings={**run.settings, "tracking": hidden}))

    # Whoever is not named decides nothing.
    asked = ApproveRequest(
        run=earlier.name, groups=["poisoned:1"], action="keep", by="Eve", reason="ours"
    )
    refused = approve(asked, return_state=True)
    assert refused.name == "Failed"
    assert "'Eve' may not decide" in str(refused.message)
    assert not (state / "audit" / "log.jsonl").exists()

    # What was taken back is not gone on with, and decides nothing.
    digest = read_envelope(earlier / "attestation.json").digest
    (tmp_path / "other.revoked").write_text(f"{digest} a wrong source")
    listed = {"by": "Ada", "revoked": str(tmp_path / "other.revoked")}
    refused = approve(asked.model_copy(update=listed), return_state=True)
    assert f"the attestation {digest} is revoked" in str(refused.message)
    assert not (state / "audit" / "log.jsonl").exists()
    source.unlink()  # nobody reads it again
    decided = asked.model_copy(update={"by": "Ada"})
    ended = approve(decided, return_state=True)
    assert ended.name == "Completed", ended.message
    folder, verdict = folder_of(state, ended), verdict_of(state, ended)
    assert digests(earlier) == before
    assert (verdict.n_kept, verdict.n_accepted) == (N_DOUBTED, N + N_DOUBTED)
    record = json.loads((folder / "adapter" / "training.json").read_text())
    assert record["n_accepted"] == N + N_DOUBTED
    found = gradgate.verify(
        folder / "attestation.json", folder / "rows" / "accepted.jsonl", key=tmp_path / "key.pub"
    )
    assert f"| Attestation | {found.digest} |" in (folder / "adapter" / "README.md").read_text()
    assert [one.by for one in found.predicate.approvals] == ["Ada"]
    assert found.predicate.expires == run.expires
    runs = {run.info.run_id: run for run in mlflow_runs(state)}
    own = runs[json.loads((folder / "run.json").read_text())["run_id"]]
    assert own.data.tags["gradgate.goes_on_with"] == earlier.name
    assert own.data.tags["gradgate.goes_on_with_run"] in runs
    assert "scored_anew" not in own.data.metrics
    gate_suite = json.loads((folder / "validation_gate.json").read_text())
    limits = {r["expectation_config"]["type"]: r["result"] for r in gate_suite["results"]}
    assert limits["expect_review_fraction_to_be_at_most"]["n_rows"] == N
    assert limits["expect_review_fraction_to_be_at_most"]["n_marked"] == 0
    assert "Decided by people | 12 rows kept, 0 dropped" in (folder / "verdict.md").read_text()

    check_next_night(state, source, rows, sections)
    capsys.readouterr()
    assert main(["audit", "verify", "--key", str(tmp_path / "key.pub")]) == 0
    assert "whole: 1 entries, held against 3 attestations" in capsys.readouterr().out


def check_next_night(
    state: Path, source: Path, rows: list[dict[str, object]], sections: dict[str, Any]
) -> None:
    """The same rows pass, and one that resembles them is in doubt again."""
    new = {"question": "who painted the bridge at night?", "answers": "granite harbour nine"}
    write_jsonl(source, [*rows, new])
    night = gate(config(source, **sections), return_state=True)
    assert night.name == "Completed", night.message
    table = pq.read_table(folder_of(state, night) / "flags.parquet")
    approved = table["approved"].to_pylist()
    assert approved == [None] * N + ["keep"] * N_DOUBTED + [None]
    assert table["in_doubt"].to_pylist()[-1] is True
    assert verdict_of(state, night).answers[0].n_in_doubt == 1


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"groups": ["poisoned:1"]}, "groups is said, and no decision"),
        ({"pattern": True}, "pattern is said, and no decision"),
        ({"action": "keep", "rows": "3", "by": "Ada"}, "needs who decides"),
        ({"action": "allow"}, "Input should be 'keep', 'drop' or 'withdraw'"),
    ],
)
def test_a_form_that_is_not_whole(given: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        ApproveRequest.model_validate({"run": "night-1", **given})


def test_every_field_of_the_form_says_what_it_is() -> None:
    schema = ApproveRequest.model_json_schema()
    assert all(field["title"] and field["description"] for field in schema["properties"].values())
    assert schema["required"] == ["run"]
