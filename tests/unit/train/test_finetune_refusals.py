"""Fine-tuning that is refused or fails: nothing is kept of it."""

import math
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from lora_helpers import QUICK, Gated, assert_nothing_kept

from gradgate.common.run_folder import SAMPLE_SCHEMA
from gradgate.config import ModelConfig
from gradgate.errors import ConfigError, DataError, ModelError
from gradgate.gate.acceptance import NotAcceptedError
from gradgate.gate.verdict import Decision
from gradgate.models.identity import load_model
from gradgate.train import finetune as finetune_module
from helpers import FLAG_SCHEMA


@pytest.mark.parametrize("decision", ["fail", "review", "error"])
def test_any_other_verdict(gated: Gated, decision: Decision) -> None:
    nowhere = ModelConfig(path="/no/such/model")  # the verdict is looked at before the model
    verdict = replace(gated.verdict, decision=decision)
    with pytest.raises(NotAcceptedError, match=decision):
        gated.finetune(verdict=verdict, model=nowhere)
    assert_nothing_kept(gated)


def test_a_flagged_row_that_became_an_accepted_one(gated: Gated) -> None:
    flags = pq.read_table(gated.run / "flags.parquet").to_pylist()
    flags[3]["flagged"] = False
    pq.write_table(pa.Table.from_pylist(flags, FLAG_SCHEMA), gated.run / "flags.parquet")
    with pytest.raises(NotAcceptedError, match="accepted_fingerprint"):
        gated.finetune()
    assert_nothing_kept(gated)


def test_rows_that_change_while_the_model_is_loaded(
    gated: Gated, monkeypatch: pytest.MonkeyPatch
) -> None:
    def tampering(config: ModelConfig) -> object:
        samples = pq.read_table(gated.run / "samples.parquet").to_pylist()
        samples[0]["input_ids"][-2] += 1
        table = pa.Table.from_pylist(samples, SAMPLE_SCHEMA)
        pq.write_table(table, gated.run / "samples.parquet")
        return load_model(config)

    monkeypatch.setattr(finetune_module, "load_model", tampering)
    with pytest.raises(NotAcceptedError, match="accepted_tokens"):
        gated.finetune()
    assert_nothing_kept(gated)


def test_another_model(gated: Gated, folders: Path) -> None:
    other = gated.model.model_copy(update={"path": str(folders / "gpt2")})
    with pytest.raises(ModelError, match="not the model that scored"):
        gated.finetune(model=other)
    assert_nothing_kept(gated)


def test_the_same_path_with_other_weights(gated: Gated) -> None:
    model = {**gated.verdict.model, "sha256": "0" * 64}
    with pytest.raises(ModelError, match="sha256"):
        gated.finetune(verdict=replace(gated.verdict, model=model))
    assert_nothing_kept(gated)


@pytest.mark.parametrize("model", [{}, {"path": None}])
def test_a_verdict_about_no_model(gated: Gated, model: dict[str, str | None]) -> None:
    with pytest.raises(ModelError, match="not the model that scored"):
        gated.finetune(verdict=replace(gated.verdict, model=model))
    assert_nothing_kept(gated)


def test_an_output_folder_that_exists(gated: Gated) -> None:
    gated.output.mkdir()
    with pytest.raises(DataError, match="exists"):
        gated.finetune()
    assert not list(gated.output.iterdir())


@pytest.mark.parametrize(
    "targets", [[], ["q_proj", "nowhere"], ["proj"], ["mlp"], ["input_layernorm"], ["all-linear"]]
)
def test_unknown_target_modules(gated: Gated, targets: list[str]) -> None:
    with pytest.raises(ModelError, match="down_proj, gate_proj, k_proj"):
        gated.finetune(QUICK.model_copy(update={"target_modules": targets}))
    assert_nothing_kept(gated)


def test_a_second_gpu(gated: Gated, monkeypatch: pytest.MonkeyPatch) -> None:
    def on_second(config: ModelConfig) -> object:
        return replace(load_model(config), device=torch.device("cuda:1"))

    monkeypatch.setattr(finetune_module, "load_model", on_second)
    with pytest.raises(ConfigError, match="CUDA_VISIBLE_DEVICES=1"):
        gated.finetune()
    assert_nothing_kept(gated)


def test_a_loss_that_is_not_finite(gated: Gated, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(config: ModelConfig) -> object:
        loaded = load_model(config)
        loaded.model.get_input_embeddings().weight[0] = math.nan
        return loaded

    monkeypatch.setattr(finetune_module, "load_model", broken)
    with pytest.raises(ModelError, match="not finite"):
        gated.finetune()
    assert_nothing_kept(gated)


def test_a_learning_rate_that_blows_up(gated: Gated) -> None:
    with pytest.raises(ModelError, match="not finite"):
        gated.finetune(QUICK.model_copy(update={"learning_rate": 1e38, "epochs": 4}))
    assert_nothing_kept(gated)
