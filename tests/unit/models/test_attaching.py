"""Adapters that change weights of their model while they are loaded."""

from pathlib import Path

import peft
import pytest
import torch
from transformers import AutoModelForCausalLM

from gradgate.config import FinetuneConfig, ModelConfig
from gradgate.errors import ModelError
from gradgate.models.identity import load_model
from gradgate.tuning.lora import adapt, save_adapter
from helpers import MODEL

BASE = ModelConfig(path=str(MODEL), device="cpu", dtype="float32")
IDS = torch.tensor([[5, 9, 33, 12, 80, 44]])


def adapter_of(folder: Path, **settings: object) -> ModelConfig:
    """The demo's model with a new adapter."""
    model = AutoModelForCausalLM.from_pretrained(MODEL, dtype=torch.float32)
    lora = peft.LoraConfig(task_type="CAUSAL_LM", r=4, target_modules=["q_proj"], **settings)
    peft.get_peft_model(model, lora).save_pretrained(str(folder), save_embedding_layers=False)
    return BASE.model_copy(update={"adapter": str(folder)})


@pytest.mark.parametrize(
    ("settings", "is_changed"),
    [
        ({"init_lora_weights": True}, False),
        ({"init_lora_weights": False}, False),
        ({"init_lora_weights": "gaussian"}, False),
        ({"init_lora_weights": "orthogonal"}, False),
        ({"init_lora_weights": "eva"}, False),
        ({"init_lora_weights": "mica"}, False),
        ({"use_dora": True}, False),
        ({"modules_to_save": ["lm_head"]}, False),
        ({"init_lora_weights": "pissa"}, True),
        ({"init_lora_weights": "olora"}, True),
        ({"kasa_config": peft.KasaConfig()}, True),
    ],
)
@torch.no_grad()
def test_it_is_known_whether_the_model_before_is_left(
    tmp_path: Path, settings: dict[str, object], is_changed: bool
) -> None:
    loaded = load_model(adapter_of(tmp_path, **settings))
    expected = load_model(BASE).model(input_ids=IDS).logits
    with loaded.model.disable_adapter():
        left = loaded.model(input_ids=IDS).logits
    assert loaded.is_base_changed is is_changed
    assert torch.equal(left, expected) is not is_changed


def test_an_adapter_that_is_another_one_each_time_is_refused(tmp_path: Path) -> None:
    config = adapter_of(tmp_path, init_lora_weights="pissa_niter_1")
    with pytest.raises(ModelError, match=r"'pissa_niter_1'\), so that no two .* plain LoRA"):
        load_model(config)


@torch.no_grad()
def test_one_that_changes_the_model_is_trained_further_from_where_it_is(tmp_path: Path) -> None:
    config = adapter_of(tmp_path / "first", init_lora_weights="pissa")
    loaded = load_model(config)
    expected = loaded.model(input_ids=IDS).logits
    tuning = FinetuneConfig(r=4, alpha=8, target_modules=["q_proj"], dropout=0)
    save_adapter(adapt(loaded, config, tuning), tmp_path / "second", is_resized=False)
    again = load_model(BASE.model_copy(update={"adapter": str(tmp_path / "second")}))
    assert torch.equal(again.model(input_ids=IDS).logits, expected)
