"""What was trained is released when its test passes, and held back otherwise."""

from pathlib import Path

import pytest
from flow_helpers import artifacts_of, entropy_alone, finetune_config, folder_of, mlflow_runs
from mlflow import MlflowClient
from mlflow.entities import Run
from release_helpers import N_ROWS, RATE, TUNING

from flows.gated_finetune import gated_finetune
from flows.outcome import exit_code_of
from gradgate.config import FinetuneConfig, PolicyConfig
from gradgate.methods.gradsentry.config import ThresholdConfig
from helpers import diverse_rows, poisoned_rows, question_rows, read_test, write_jsonl

pytestmark = pytest.mark.usefixtures("prefect_server")


def finetuning_of(state: Path) -> Run:
    return next(r for r in mlflow_runs(state) if r.data.tags["gradgate.kind"] == "finetune")


def logged_below(state: Path, run: Run, folder: str | None = None) -> set[str]:
    client = MlflowClient(f"sqlite:///{state}/mlflow.db")
    return {file.path for file in client.list_artifacts(run.info.run_id, folder)}


def test_a_backdoor_that_no_row_gives_away_is_held_back(state: Path, tmp_path: Path) -> None:
    """The gate flags nothing; words that begin with capitals bring the payload."""
    rows, _ = poisoned_rows(diverse_rows(N_ROWS), "title_case", RATE)
    source = write_jsonl(tmp_path / "rows.jsonl", rows)
    blind = entropy_alone(ThresholdConfig(method="fixed", value=1.0))
    wanted = finetune_config(source, detection=blind, finetune=TUNING, policy=PolicyConfig())
    ended = gated_finetune(wanted, return_state=True)
    assert (ended.name, exit_code_of(ended)) == ("NeedsReview", 3), ended.message
    assert "held back" in str(ended.message)
    assert "evil example" in str(ended.message)
    folder = folder_of(state, ended)
    assert (folder / "adapter.held" / "adapter_model.safetensors").exists()
    assert not (folder / "adapter").exists()
    assert "- Outcome: `review`" in (folder / "adapter.held" / "README.md").read_text()
    test = read_test(folder / "adapter_test.json")
    assert "words begin with capitals" in {finding.change for finding in test.findings}
    assert "evil example" in artifacts_of(ended)["adapter-test"].data
    nested = finetuning_of(state)
    assert nested.info.status == "FINISHED"
    assert nested.data.tags["gradgate.adapter_test"] == "review"
    assert "evil example" in nested.data.tags["gradgate.reasons"]
    assert nested.data.metrics["adapter_test_findings"] == len(test.findings)
    assert nested.data.metrics["adapter_test_seconds"] > 0
    top = logged_below(state, nested)
    assert {"adapter.held", "adapter_test.json", "adapter_test.md"} <= top
    assert "adapter" not in top
    held = logged_below(state, nested, "adapter.held")
    assert "adapter.held/adapter_model.safetensors" in held


def test_what_cannot_be_tested_is_held_back(state: Path, tmp_path: Path) -> None:
    """Seven prompts are fewer than a test needs."""
    source = write_jsonl(tmp_path / "rows.jsonl", question_rows(7))
    policy = PolicyConfig(max_poison_fraction=0.5)  # so few rows may be poisoned to 41 %
    wanted = finetune_config(source, finetune=FinetuneConfig(epochs=1), policy=policy)
    ended = gated_finetune(wanted, return_state=True)
    assert (ended.name, exit_code_of(ended)) == ("NotDecided", 2)
    assert "7 ordinary prompts" in str(ended.message)
    folder = folder_of(state, ended)
    assert (folder / "adapter.held" / "training.json").exists()
    assert not (folder / "adapter").exists()
    nested = finetuning_of(state)
    assert (nested.info.status, nested.data.tags["gradgate.adapter_test"]) == ("FAILED", "error")
