"""Two questions in the flow: what is checked, recorded and shown of each."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from flow_helpers import artifacts_of, config, folder_of, mlflow_runs, verdict_of
from method_helpers import Words, registered

from flows.gate import gate
from gradgate.config import PolicyConfig
from gradgate.gate.config import DetectionConfig
from helpers import diverse_rows, write_jsonl

pytestmark = pytest.mark.usefixtures("prefect_server")

DETECTION = {
    "methods": ["gradsentry", "words"],
    "gradsentry": {"threshold": {"method": "fixed", "value": 1.0}},
    "power": {"attacks": []},
}


def test_each_answer_is_checked_recorded_and_shown(state: Path, tmp_path: Path) -> None:
    rows = diverse_rows(100)
    for i, word in ((7, "napalm"), (8, "napalm"), (20, "venom")):
        rows[i]["answers"] = [f"mix {word} number {i}"]
    source = write_jsonl(tmp_path / "rows.jsonl", rows)
    policy = PolicyConfig(max_harmful_fraction=0.2, harmful_review_above=0.025)
    with registered(Words):
        detection = DetectionConfig.model_validate(DETECTION)
        ended = gate(config(source, detection=detection, policy=policy), return_state=True)
    assert ended.name == "NeedsReview"
    folder, verdict = folder_of(state, ended), verdict_of(state, ended)
    assert [answer.decision for answer in verdict.answers] == ["pass", "review"]
    why = "2 of 100 rows flagged as harmful (2.00%) and 1 in doubt (1.00%), more than "
    assert f"{why}harmful_review_above 2.50%" in verdict.reasons
    assert pq.read_table(folder / "flagged.parquet")["row"].to_pylist() == [7, 8]

    record = json.loads((folder / "validation_gate.json").read_text())
    marked = {
        r["expectation_config"]["type"]: (r["result"]["n_marked"], r["success"])
        for r in record["results"]
        if "n_marked" in r["result"]
    }
    assert marked == {
        "expect_poison_fraction_to_be_at_most": (0, True),
        "expect_review_fraction_to_be_at_most": (0, True),
        "expect_harmful_fraction_to_be_at_most": (2, True),
        "expect_harmful_review_fraction_to_be_at_most": (3, False),
    }
    (run,) = mlflow_runs(state)
    assert run.data.tags["gradgate.method"] == "gradsentry"
    assert run.data.tags["gradgate.harmful.method"] == "words"
    assert json.loads(run.data.params["detection.methods"]) == ["gradsentry", "words"]
    metrics = run.data.metrics
    assert (metrics["flagged"], metrics["poison_fraction"]) == (0, 0.0)
    assert (metrics["harmful/flagged"], metrics["harmful/in_doubt"]) == (2, 1)
    assert metrics["harmful/fraction"] == 0.02

    artifacts = artifacts_of(ended)
    shown = {name: json.loads(artifacts[name].data) for name in ("flagged", "quarantined")}
    assert [(line["row"], line["question"]) for line in shown["flagged"]] == [
        (8, "harmful"), (7, "harmful"),
    ]  # fmt: skip
    assert [(line["row"], line["question"]) for line in shown["quarantined"]] == [(20, "harmful")]
    page = (folder / "verdict.md").read_text()
    for said in ("are there poisoned rows? pass", "are there harmful rows? review"):
        assert said in page, said
    assert "flagged as harmful" in (folder / "report.html").read_text()


def test_an_answer_that_is_an_error_is_no_decision(state: Path, tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "rows.jsonl", diverse_rows(60))
    undecided = {**DETECTION, "words": {"undecided_means": "error"}}
    with registered(Words):
        detection = DetectionConfig.model_validate(undecided)
        ended = gate(config(source, detection=detection), return_state=True)
    assert ended.name == "NotDecided"
    verdict = verdict_of(state, ended)
    assert [answer.decision for answer in verdict.answers][1] == "error"
    assert (verdict.exit_code, verdict.accepted_fingerprint) == (2, None)
    assert "this model refuses nothing" in verdict.reasons
    (run,) = mlflow_runs(state)
    assert (run.info.status, run.data.tags["gradgate.verdict"]) == ("FAILED", "error")
