"""What the flows do about broken models, lost stores and forged files: no fault passes data."""

import http.server
import json
import shutil
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from flow_helpers import (
    SHORT_ANSWERS,
    artifacts_of,
    config,
    finetune_config,
    folder_of,
    mlflow_runs,
    verdict_of,
)
from safetensors.torch import load_file, save_file

from expectations.fraction_limits import (
    ExpectPoisonFractionToBeAtMost,
    ExpectReviewFractionToBeAtMost,
)
from flows.gate import gate
from flows.gated_finetune import gated_finetune
from flows.outcome import exit_code_of
from gradgate.config import FinetuneConfig, ModelConfig, PolicyConfig, TrackingConfig
from gradgate.errors import ConfigError, TransientError
from gradgate.gate.acceptance import NotAcceptedError, accept, require_passing
from gradgate.gate.verdict import load_verdict
from helpers import MODEL, question_rows, write_jsonl
from tasks import tracking
from tasks.retries import OPTIONS
from tasks.run import GateRun
from tasks.steps import fetch
from tasks.track import open_run
from tasks.tracking import TrackedRun

pytestmark = pytest.mark.usefixtures("prefect_server")


@pytest.fixture
def quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault that may pass is tried again as often as ever, and at once."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "0")
    at_once = [0.0 for _ in OPTIONS["retry_delay_seconds"]]
    for task in (open_run, fetch):
        monkeypatch.setattr(task, "retry_delay_seconds", at_once)


def model_scaled_by(value: float, folder: Path) -> Path:
    """A copy of the model whose last norm multiplies by a value."""
    model = Path(shutil.copytree(MODEL, folder))
    weights = load_file(model / "model.safetensors")
    weights["model.norm.weight"] = torch.full_like(weights["model.norm.weight"], value)
    save_file(weights, model / "model.safetensors", metadata={"format": "pt"})
    return model


def test_weights_that_are_nan_are_named(state: Path, tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "rows.jsonl", question_rows(35))
    broken = ModelConfig(path=str(model_scaled_by(float("nan"), tmp_path / "model")), device="cpu")
    ended = gate(config(source, model=broken), return_state=True)
    assert (ended.name, exit_code_of(ended)) == ("Failed", 2)
    assert "NaN" in str(ended.message)
    assert "model.norm.weight" in str(ended.message)
    verdict = verdict_of(state, ended)
    assert verdict.decision == "error"
    shown = artifacts_of(ended)["verdict"].data
    assert shown.startswith("# Error: the gate could not decide")
    assert "Mend what the reason below names" in shown
    assert "model.norm.weight" in (folder_of(state, ended) / "report.html").read_text()
    (run,) = mlflow_runs(state)
    assert (run.info.status, run.data.tags["gradgate.verdict"]) == ("FAILED", "error")


def test_a_model_that_gives_nan_is_not_decided(state: Path, tmp_path: Path) -> None:
    model = model_scaled_by(3e38, tmp_path / "model")  # finite weights, and an infinite output
    source = write_jsonl(tmp_path / "rows.jsonl", question_rows(35))
    broken = ModelConfig(path=str(model), device="cpu")
    ended = gate(config(source, model=broken), return_state=True)
    assert (ended.name, exit_code_of(ended)) == ("NotDecided", 2)
    verdict = verdict_of(state, ended)
    assert verdict.decision == "error"
    assert any("spectral_entropy" in reason for reason in verdict.reasons)
    (run,) = mlflow_runs(state)
    assert (run.info.status, run.data.tags["gradgate.verdict"]) == ("FAILED", "error")


@pytest.mark.parametrize(
    ("content", "model", "message"),
    [
        (b"", str(MODEL), "no rows"),
        (b'{"a": 1}\n', str(MODEL), "columns"),
        (b'{"text": "hello"}\n', "/nowhere/model", "no such folder"),
    ],
    ids=["empty file", "no known columns", "no model"],
)
def test_an_error_is_recorded_and_ends_the_flow(
    state: Path, tmp_path: Path, content: bytes, model: str, message: str
) -> None:
    (tmp_path / "rows.jsonl").write_bytes(content)
    settings = config(tmp_path / "rows.jsonl", model=ModelConfig(path=model, device="cpu"))
    ended = gate(settings, return_state=True)
    assert (ended.is_failed(), exit_code_of(ended)) == (True, 2)
    verdict = verdict_of(state, ended)
    assert verdict.decision == "error"
    assert message in verdict.reasons[0]
    (run,) = mlflow_runs(state)
    assert (run.info.status, run.data.tags["gradgate.verdict"]) == ("FAILED", "error")
    assert not list((state / "runs").glob("*.part"))


def test_evidence_that_cannot_be_logged_leaves_no_pass_behind(
    state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    really = tracking.log_files

    def refuse(run: TrackedRun, path: Path, to: str | None = None) -> None:
        if path.name != "config.yaml":  # which is logged before anything else
            raise ConfigError("the artifact store is full")
        really(run, path, to)

    monkeypatch.setattr("tasks.tracking.log_files", refuse)
    source = write_jsonl(tmp_path / "rows.jsonl", question_rows(60))
    tuning = FinetuneConfig(epochs=1)
    ended = gated_finetune(finetune_config(source, finetune=tuning), return_state=True)
    assert exit_code_of(ended) == 2
    assert "artifact store is full" in str(ended.message)
    part = folder_of(state, ended).with_name(f"{ended.state_details.flow_run_id}.part")
    assert load_verdict(part / "verdict.json").decision == "error"
    with pytest.raises(NotAcceptedError, match="not finished"):
        require_passing(part, load_verdict(part / "verdict.json"))
    (run,) = mlflow_runs(state)
    assert "gradgate.verdict" not in run.data.tags


def test_a_fault_while_recording_the_training_does_not_train_again(
    state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    really = tracking.log_files
    failed: list[Path] = []

    def fail_once(run: TrackedRun, path: Path, to: str | None = None) -> None:
        if to == "adapter" and not failed:
            failed.append(path)
            raise TransientError("MLflow is being restarted")
        really(run, path, to)

    monkeypatch.setattr("tasks.tracking.log_files", fail_once)
    source = write_jsonl(tmp_path / "rows.jsonl", question_rows(60))
    tuning = FinetuneConfig(epochs=1, batch_size=16)
    policy = PolicyConfig(max_poison_fraction=0.2, review_above=0.1)
    wanted = finetune_config(source, finetune=tuning, policy=policy, adapter_test=SHORT_ANSWERS)
    ended = gated_finetune(wanted, return_state=True)
    assert (ended.name, len(failed)) == ("Completed", 1)
    nested = [r for r in mlflow_runs(state) if r.data.tags["gradgate.kind"] == "finetune"]
    assert [run.info.status for run in nested] == ["FINISHED"]


def test_a_flow_run_that_is_retried_keeps_both_attempts(
    state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def bug(*_: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr("flows.gate.check_raw_data", bug)
    source = write_jsonl(tmp_path / "rows.jsonl", question_rows(3))
    again = gate.with_options(retries=1, retry_delay_seconds=0)
    ended = again(config(source), return_state=True)
    run_id = str(ended.state_details.flow_run_id)
    assert {path.name for path in (state / "runs").iterdir()} == {run_id, f"{run_id}-2"}
    assert [run.info.status for run in mlflow_runs(state)] == ["FAILED", "FAILED"]


def forge_flags(folder: Path) -> None:
    """Take the flags back in the tables of a run, and write the verdict that fits them."""
    flags = pq.read_table(folder / "flags.parquet")
    place = flags.schema.get_field_index("flagged")
    nothing = pa.array([False] * flags.num_rows)
    pq.write_table(flags.set_column(place, "flagged", nothing), folder / "flags.parquet")
    found = accept(folder)
    forged = replace(
        load_verdict(folder / "verdict.json"),
        accepted_fingerprint=found.fingerprint,
        accepted_tokens=found.tokens_digest,
    )
    (folder / "verdict.json").write_text(forged.to_json())
    require_passing(folder, forged)  # nothing in the folder tells


def test_files_that_are_replaced_together_before_the_training_are_refused(
    state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # report is the last step before the training
    monkeypatch.setattr("flows.gate.report", lambda run: forge_flags(run.folder.path))
    source = write_jsonl(tmp_path / "rows.jsonl", question_rows(60, n_poisoned=2))
    policy = PolicyConfig(max_poison_fraction=0.2, review_above=0.1)
    ended = gated_finetune(finetune_config(source, policy=policy), return_state=True)
    assert exit_code_of(ended) == 2
    assert "accepted_fingerprint" in str(ended.message)
    assert not (folder_of(state, ended) / "adapter").exists()
    nested = next(r for r in mlflow_runs(state) if r.data.tags["gradgate.kind"] == "finetune")
    assert nested.info.status == "FAILED"
    assert "NotAcceptedError" in nested.data.tags["gradgate.reasons"]


def test_a_verdict_that_is_replaced_before_the_training_counts_for_nothing(
    state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forge(run: GateRun) -> None:
        verdict = load_verdict(run.folder.verdict)
        run.folder.verdict.write_text(replace(verdict, reasons=["forged"]).to_json())

    monkeypatch.setattr("flows.gate.report", forge)
    source = write_jsonl(tmp_path / "rows.jsonl", question_rows(60))
    tuning = FinetuneConfig(epochs=1)
    policy = PolicyConfig(max_poison_fraction=0.2, review_above=0.1)
    wanted = finetune_config(source, finetune=tuning, policy=policy, adapter_test=SHORT_ANSWERS)
    ended = gated_finetune(wanted, return_state=True)
    assert ended.name == "Completed"
    record = json.loads((folder_of(state, ended) / "adapter" / "training.json").read_text())
    assert "forged" not in record["verdict"]["reasons"]


@pytest.mark.parametrize(
    ("limit", "n_poisoned", "says"),
    [
        (ExpectPoisonFractionToBeAtMost, 12, True),
        (ExpectPoisonFractionToBeAtMost, 0, False),
        (ExpectReviewFractionToBeAtMost, 5, True),
        (ExpectReviewFractionToBeAtMost, 0, False),
    ],
)
def test_an_expectation_and_a_policy_that_disagree_are_an_error(
    state: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    limit: type[ExpectPoisonFractionToBeAtMost],
    n_poisoned: int,
    says: bool,
) -> None:
    rightly = limit._validate

    def wrongly(self: ExpectPoisonFractionToBeAtMost, *given: Any, **more: Any) -> dict[str, Any]:
        return {**rightly(self, *given, **more), "success": says}

    monkeypatch.setattr(limit, "_validate", wrongly)
    source = write_jsonl(tmp_path / "rows.jsonl", question_rows(60, n_poisoned))
    policy = PolicyConfig(max_poison_fraction=0.1, review_above=0.05)
    ended = gate(config(source, policy=policy), return_state=True)
    assert exit_code_of(ended) == 2
    verdict = verdict_of(state, ended)
    assert verdict.decision == "error"
    assert verdict.reasons[0].startswith("DisagreementError: ")
    assert "the policy says the contrary" in verdict.reasons[0]


@pytest.mark.usefixtures("quick_retries")
def test_without_mlflow_nothing_begins(state: Path, tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "rows.jsonl", question_rows(30))
    unreachable = TrackingConfig(uri="http://127.0.0.1:9")
    ended = gate(config(source, tracking=unreachable), return_state=True)
    assert (ended.name, exit_code_of(ended)) == ("Failed", 2)
    assert str(ended.message).startswith("TransientError: MLflow at http://127.0.0.1:9")
    assert not (state / "runs").exists()


def test_a_state_folder_that_cannot_be_written_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("GRADGATE_STATE_DIR", str(tmp_path / "file" / "state"))
    source = write_jsonl(tmp_path / "rows.jsonl", question_rows(30))
    ended = gate(config(source), return_state=True)
    assert (ended.name, exit_code_of(ended)) == ("Failed", 2)
    assert "GRADGATE_STATE_DIR" in str(ended.message)


@pytest.mark.usefixtures("quick_retries")
def test_a_silent_store_is_asked_again_and_a_missing_file_is_not(
    state: Path, tmp_path: Path
) -> None:
    content = write_jsonl(tmp_path / "rows.jsonl", question_rows(40)).read_bytes()
    asked: list[str] = []

    class Store(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            status = 404 if "missing" in self.path else 503 if len(asked) <= 1 else 200
            self.send_response(status)
            self.send_header("Content-Length", str(len(content) if status == 200 else 0))
            self.end_headers()
            if status == 200:
                self.wfile.write(content)

        def do_HEAD(self) -> None:
            self.send_response(404 if "missing" in self.path else 200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Store)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    where = f"http://127.0.0.1:{server.server_port}"
    try:
        ended = gate(config(f"{where}/rows.jsonl"), return_state=True)
        assert verdict_of(state, ended).n_scored == 40
        assert len(asked) >= 2
        asked.clear()
        ended = gate(config(f"{where}/missing.jsonl"), return_state=True)
        assert exit_code_of(ended) == 2
        assert "DataError" in verdict_of(state, ended).reasons[0]
        assert len(asked) <= 1
    finally:
        server.shutdown()


def test_a_finetuning_that_cannot_begin_is_found_before_the_gate(state, tmp_path) -> None:
    source = write_jsonl(tmp_path / "rows.jsonl", question_rows(35))
    tuning = FinetuneConfig(target_modules=["nowhere"])
    ended = gated_finetune(finetune_config(source, finetune=tuning), return_state=True)
    assert (ended.name, exit_code_of(ended)) == ("Failed", 2)
    assert "no linear module ['nowhere']" in str(ended.message)
    assert not (folder_of(state, ended) / "samples.parquet").exists()
    assert verdict_of(state, ended).decision == "error"
    (run,) = mlflow_runs(state)
    assert run.info.status == "FAILED"


def test_artifacts_that_cannot_be_written_are_found_before_the_gate(
    state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise ConfigError("the artifact store is full")

    monkeypatch.setattr("tasks.tracking.log_files", refuse)
    source = write_jsonl(tmp_path / "rows.jsonl", question_rows(35))
    ended = gate(config(source), return_state=True)
    assert (ended.name, exit_code_of(ended)) == ("Failed", 2)
    assert "artifact store is full" in str(ended.message)
    assert not list((state / "runs").glob("*"))
    (run,) = mlflow_runs(state)
    assert run.info.status == "FAILED"
    assert "gradgate.verdict" not in run.data.tags
