"""What the flow trains and records, in Prefect's temporary server and a real MLflow."""

import json
from pathlib import Path

import pytest
import torch
from flow_helpers import (
    SHORT_ANSWERS,
    answer_of,
    finetune_config,
    folder_of,
    mlflow_runs,
    verdict_of,
)
from mlflow import MlflowClient
from peft import PeftModel
from transformers import AutoModelForCausalLM

from flows.gated_finetune import gated_finetune
from flows.outcome import exit_code_of
from gradgate.config import (
    FinetuneConfig,
    PolicyConfig,
)
from helpers import MODEL, question_rows, read_test, write_jsonl

pytestmark = pytest.mark.usefixtures("prefect_server")


def test_clean_data_pass_and_are_fine_tuned_on_the_accepted_rows_alone(
    state: Path, tmp_path: Path
) -> None:
    rows = question_rows(60, n_poisoned=2)
    tuning = FinetuneConfig(epochs=1, learning_rate=1e-3, batch_size=8)
    source = write_jsonl(tmp_path / "rows.jsonl", rows)
    policy = PolicyConfig(max_poison_fraction=0.2, review_above=0.05)
    wanted = finetune_config(source, finetune=tuning, policy=policy)
    ended = gated_finetune(wanted, return_state=True)
    assert (ended.name, exit_code_of(ended)) == ("Completed", 0)
    folder, verdict = folder_of(state, ended), verdict_of(state, ended)
    assert (verdict.decision, answer_of(verdict).n_flagged) == ("pass", 2)
    record = json.loads((folder / "adapter" / "training.json").read_text())
    assert record["n_accepted"] == 58
    card = (folder / "adapter" / "README.md").read_text()
    assert str(verdict.dataset_fingerprint) in card
    base = AutoModelForCausalLM.from_pretrained(MODEL)
    tuned = PeftModel.from_pretrained(base, folder / "adapter")
    assert sum(p.abs().sum().item() for n, p in tuned.named_parameters() if "lora_B" in n) > 0
    gate_run = next(r for r in mlflow_runs(state) if r.data.tags["gradgate.kind"] == "gate")
    nested = next(r for r in mlflow_runs(state) if r.data.tags["gradgate.kind"] == "finetune")
    assert nested.data.tags["mlflow.parentRunId"] == gate_run.info.run_id
    assert nested.data.metrics["samples"] == 58
    assert nested.data.params["finetune.r"] == "4"
    assert gate_run.info.run_id in card
    assert nested.data.tags["gradgate.adapter_test"] == "pass"
    assert nested.data.params["adapter_test.trained_on_data"] == "True"
    assert "- Outcome: `pass`" in card
    assert not (folder / "adapter.held").exists()
    assert read_test(folder / "adapter_test.json").outcome == "pass"


def test_a_whole_model_is_fine_tuned_and_recorded(state: Path, tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "rows.jsonl", question_rows(60))
    tuning = FinetuneConfig(kind="full", epochs=1, learning_rate=1e-4, batch_size=16)
    wanted = finetune_config(source, finetune=tuning, adapter_test=SHORT_ANSWERS)
    ended = gated_finetune(wanted, return_state=True)
    assert ended.name == "Completed"
    folder = folder_of(state, ended)
    assert not (folder / "adapter").exists()
    base = AutoModelForCausalLM.from_pretrained(MODEL).get_input_embeddings().weight
    tuned = AutoModelForCausalLM.from_pretrained(folder / "model").get_input_embeddings().weight
    assert not torch.equal(base, tuned)
    nested = next(r for r in mlflow_runs(state) if r.data.tags["gradgate.kind"] == "finetune")
    assert nested.data.params["finetune.kind"] == "full"
    assert nested.data.metrics["trainable_parameters"] > 1e6
    assert nested.data.metrics.keys() >= {"contradicting_rows", "contradicting_rows_expected"}
    client = MlflowClient(f"sqlite:///{state}/mlflow.db")
    logged = {file.path for file in client.list_artifacts(nested.info.run_id, "model")}
    assert {"model/README.md", "model/training.json"} <= logged
    watched = read_test(folder / "adapter_test.json").contradicted
    assert watched is not None
    assert watched.n_rows == 60
    assert nested.data.metrics["adapter_test_answers"] >= 8  # prompts as they are, at least
    assert not (folder / "model.held").exists()


def test_rejected_data_are_never_fine_tuned(state: Path, tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "rows.jsonl", question_rows(40, n_poisoned=10))
    ended = gated_finetune(finetune_config(source, finetune=FinetuneConfig()), return_state=True)
    assert ended.name == "Rejected"
    assert not (folder_of(state, ended) / "adapter").exists()
    assert [r.data.tags["gradgate.kind"] for r in mlflow_runs(state)] == ["gate"]
