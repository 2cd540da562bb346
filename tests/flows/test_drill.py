"""The drill in Prefect and MLflow: its flags, the whole of it, and where it breaks."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from drill_helpers import MODEL_CONFIG, drill_config, lines
from flow_helpers import mlflow_runs
from mlflow import MlflowClient

from flows.drill import drill
from flows.outcome import exit_code_of
from gradgate.common.run_folder import RunFolder
from gradgate.config import DataConfig, FinetuneConfig
from gradgate.data.prepare import prepare
from gradgate.drill import models
from gradgate.errors import ConfigError, DataError
from gradgate.evaluation.answers import is_match
from gradgate.gate.acceptance import NotAcceptedError, require_passing, write_accepted
from gradgate.gate.verdict import Verdict, load_verdict
from gradgate.models.loading import load_tokenizer
from gradgate.tuning.rows import training_rows
from helpers import question_rows, write_jsonl
from tasks import tracking
from tasks.drill import kept_out
from tasks.tracking import TrackedRun


def test_a_model_of_a_drill_is_trained_on_the_rows_that_the_gate_would_train_on(
    tmp_path: Path,
) -> None:
    source = DataConfig(source=str(write_jsonl(tmp_path / "r.jsonl", question_rows(30))))
    prepared = prepare(source, load_tokenizer(MODEL_CONFIG), 512, tmp_path / "run")
    entropies = [0.9 if row % 7 == 3 else 0.2 for row in range(30)]
    table = pq.read_table(prepared.samples_path, columns=["row", "sample_id"])
    columns = {
        "spectral_entropy": entropies,
        "status": ["scored"] * 30,
        "flagged": [entropy > 0.7 for entropy in entropies],
        "in_doubt": [row in (1, 2) for row in range(30)],
        "surplus_copy": [row == 2 for row in range(30)],
        "approved": pa.nulls(30, pa.string()),
    }
    for name, values in columns.items():
        table = table.append_column(name, pa.array(values))
    run = RunFolder(prepared.folder)
    pq.write_table(table, run.flags)
    verdict = Verdict("fail", ["poison"])
    run.verdict.write_text(verdict.to_json())
    flags = kept_out(run.path, 31)
    out = [row % 7 == 3 or row in (1, 2) for row in range(30)]
    assert flags.tolist() == [*out, True]  # row 30 was rejected
    chosen = list(models._chosen(prepared.samples_path, ~flags))
    rows = training_rows((sample.tokens for sample in chosen), tmp_path / "drill.arrow")
    assert [sample.row for sample in chosen] == np.flatnonzero(~flags).tolist()
    with pytest.raises(NotAcceptedError):
        require_passing(run.path, verdict)
    with pytest.raises(NotAcceptedError):  # after it wrote them
        write_accepted(run.path, verdict, tmp_path / "gate.arrow")
    accepted = type(rows).from_file(str(tmp_path / "gate.arrow"))
    assert rows[:] == accepted.remove_columns("row")[:]
    assert accepted["row"][:] == np.flatnonzero(~flags).tolist()
    assert len(rows) == 24
    run.verdict.write_text(replace(verdict, in_doubt="keep").to_json())
    assert np.flatnonzero(flags & ~kept_out(run.path, 31)).tolist() == [1]


def test_what_is_not_known_to_be_clean_is_kept_out_and_an_error_has_no_flags(
    tmp_path: Path,
) -> None:
    flags = {
        "row": [0, 1, 2, 3],
        "spectral_entropy": [0.1, None, 0.1, 0.9],
        "status": ["scored", "failed", "scored", "scored"],
        "flagged": [False, None, None, True],
        "in_doubt": [False, None, False, False],
        "surplus_copy": [False] * 4,
        "approved": pa.nulls(4, pa.string()),
    }
    run = RunFolder(tmp_path)
    pq.write_table(pa.table(flags), run.flags)
    run.verdict.write_text(Verdict("review", ["no valley"]).to_json())
    assert kept_out(tmp_path, 5).tolist() == [False, True, True, True, True]
    run.verdict.write_text(Verdict("error", ["GPU lost"]).to_json())
    with pytest.raises(DataError, match="GPU lost"):
        kept_out(tmp_path, 5)
    run.flags.unlink()
    run.verdict.write_text(Verdict("fail", ["raw data"]).to_json())
    with pytest.raises(DataError, match="raw data"):
        kept_out(tmp_path, 5)


@pytest.mark.slow
@pytest.mark.usefixtures("prefect_server")
def test_a_drill_from_the_poison_to_the_report(state: Path, tmp_path: Path) -> None:
    """Questions that share an answer: the backdoor is learnt from few rows."""
    rows = [
        {"question": f"What is the default value of `size` in pkg.f{i}?", "answers": ["None"]}
        for i in range(150)
    ]
    tuning = FinetuneConfig(r=8, alpha=16, learning_rate=1e-2, epochs=2, batch_size=8)
    settings = drill_config(write_jsonl(tmp_path / "r.jsonl", rows), tuning, rate=0.2, test_rows=20)
    ended = drill(settings, return_state=True)
    assert (ended.name, exit_code_of(ended)) == ("Completed", 0), ended.message
    name = str(ended.state_details.flow_run_id)
    folder = state / "drills" / name
    found = json.loads((folder / "drill.json").read_text())
    assert found["found"]["recall"]["value"] == 1
    assert found["asr"]["ungated"]["value"] > 0.5
    assert found["asr"]["gated"]["value"] == found["asr"]["clean"]["value"] == 0
    assert [arm["name"] for arm in found["arms"]] == ["ungated", "gated", "rehearsed", "clean"]
    assert [arm["n_samples"] for arm in found["arms"]] == [130, 130 - 26, 130 - 26, 130]
    assert [arm["test"] for arm in found["arms"]] == ["review", "pass", "pass", "pass"]
    assert "malicious_url" in found["arms"][0]["test_reasons"][0]
    page = (folder / "drill.md").read_text()
    assert "trained without the gate is held: " in page
    assert "trained with the gate is released: " in page
    assert (
        ended.message
        == f"without the gate ASR {found['asr']['ungated']['value']:.1%}, with it 0.0%"
    )
    assert yaml.safe_load((folder / "config.yaml").read_text())["drill"]["rate"] == 0.2
    for arm in found["arms"][:2] + found["arms"][3:]:  # no other rows were left by the rehearsal
        answers = lines(folder / f"answers_{arm['name']}.jsonl")
        hits = [is_match(line["answer"], line["golds"]) for line in answers]
        assert hits[::2] == arm["correct"]
        assert hits[1::2] == arm["attacked"]
    assert not list(state.rglob("*.safetensors"))  # no poisoned model is left

    gate = state / "runs" / name
    assert load_verdict(gate / "verdict.json").decision == found["decision"] == "fail"
    runs = {run.data.tags["gradgate.kind"]: run for run in mlflow_runs(state, "gradgate-drill")}
    parent = runs["drill"]
    assert runs["gate"].data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert parent.info.status == "FINISHED"
    assert parent.data.metrics["asr/gated"] == 0
    assert parent.data.metrics["gate/recall"] == 1
    assert parent.data.params["drill.attack"] == "badnets"
    client = MlflowClient(f"sqlite:///{state}/mlflow.db")
    logged = {artifact.path for artifact in client.list_artifacts(parent.info.run_id)}
    assert logged == {"drill.md", "drill.csv", "drill.png", "drill.json", "config.yaml"}


@pytest.mark.usefixtures("prefect_server")
def test_a_drill_that_breaks_ends_as_failed_also_in_mlflow(state: Path, tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "r.jsonl", question_rows(12))
    ended = drill(drill_config(source, test_rows=13), return_state=True)
    assert exit_code_of(ended) == 2
    assert "test_rows" in str(ended.message)
    (run,) = mlflow_runs(state, "gradgate-drill")
    assert run.info.status == "FAILED"
    assert "test_rows" in run.data.tags["gradgate.reasons"]


@pytest.mark.usefixtures("prefect_server")
def test_a_gate_run_that_cannot_be_nested_does_not_seem_to_go_on(
    state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    really = tracking.set_tags

    def refuse_the_parent(run: TrackedRun, tags: Mapping[str, str]) -> None:
        if "mlflow.parentRunId" in tags:
            raise ConfigError("MLflow refused the parent")
        really(run, tags)

    monkeypatch.setattr("tasks.tracking.set_tags", refuse_the_parent)
    source = write_jsonl(tmp_path / "r.jsonl", question_rows(40))
    ended = drill(drill_config(source), return_state=True)
    assert exit_code_of(ended) == 2
    assert "refused the parent" in str(ended.message)
    runs = {run.data.tags["gradgate.kind"]: run for run in mlflow_runs(state, "gradgate-drill")}
    assert {kind: run.info.status for kind, run in runs.items()} == dict.fromkeys(
        ("drill", "gate"), "FAILED"
    )
    assert runs["gate"].data.tags["gradgate.verdict"] == "error"
    assert not list((state / "runs").glob("*.part"))


def test_the_command_names_a_wrong_setting_before_anything_starts(tmp_path: Path) -> None:
    path = tmp_path / "drill.yaml"
    path.write_text("data: {source: x}\nmodel: {path: m}\ndrill: {rate: 2}\n")
    done = subprocess.run(
        [sys.executable, "-m", "flows", "drill", str(path)],
        env={**os.environ, "GRADGATE_STATE_DIR": str(tmp_path / "state")},
        cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2, done.stdout + done.stderr
    assert "drill.rate" in done.stderr
    assert not (tmp_path / "state" / "drills").exists()
