"""The library's models: a loaded one scores as by its path, and is left alone."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from api_helpers import CONFIG, MODEL_PATH, ROWS
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

import gradgate
from gradgate.errors import ConfigError, DataError
from helpers import MODEL


@pytest.fixture
def model() -> PreTrainedModel:
    loaded: PreTrainedModel = AutoModelForCausalLM.from_pretrained(MODEL_PATH, dtype=torch.float32)
    return loaded


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return AutoTokenizer.from_pretrained(MODEL_PATH)


def test_a_loaded_model_scores_as_by_its_path(model: PreTrainedModel, tokenizer: Any) -> None:
    by_path = gradgate.score(ROWS, MODEL_PATH, config=CONFIG).to_pandas()
    loaded = gradgate.score(ROWS, model, tokenizer, CONFIG).to_pandas()
    for name in ("spectral_entropy", "entropy_full", "evenness", "loss", "gradient_recurrence"):
        np.testing.assert_allclose(loaded[name], by_path[name], rtol=0, atol=1e-6, err_msg=name)
    assert loaded["sample_id"].equals(by_path["sample_id"])


def state_of(model: Any) -> dict[str, Any]:
    """All that a caller may have set."""
    return {
        "training": {name: module.training for name, module in model.named_modules()},
        "requires_grad": {name: p.requires_grad for name, p in model.named_parameters()},
        "grad": {name: p.grad for name, p in model.named_parameters()},
        "weights": {name: float(p.detach().double().sum()) for name, p in model.named_parameters()},
        "hooks": {name: len(module._forward_hooks) for name, module in model.named_modules()},
        "config": model.config.to_dict(),
    }


@pytest.mark.parametrize("mode", ["train", "eval", "mixed"])
def test_a_loaded_model_is_left_as_it_was(
    model: PreTrainedModel, tokenizer: Any, mode: str
) -> None:
    model.train(mode != "eval")
    if mode == "mixed":
        model.get_input_embeddings().eval()
    next(model.parameters()).requires_grad_(False)
    before = state_of(model)
    result = gradgate.detect(ROWS, model, tokenizer, CONFIG)
    assert result.verdict.n_scored == 40
    assert state_of(model) == before


def test_a_loaded_model_is_left_as_it_was_when_the_data_are_wrong(
    model: PreTrainedModel, tokenizer: Any, tmp_path: Path
) -> None:
    model.train()
    before = state_of(model)
    with pytest.raises(DataError):
        gradgate.detect(tmp_path / "none.jsonl", model, tokenizer, CONFIG)
    assert state_of(model) == before


def test_an_adapted_model_scores_with_its_adapter(model: PreTrainedModel, tokenizer: Any) -> None:
    plain = gradgate.score(ROWS, model, tokenizer, CONFIG).to_pandas()
    settings = LoraConfig(r=4, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    adapted: Any = get_peft_model(model, settings)
    before = state_of(adapted)
    result = gradgate.detect(ROWS, adapted, tokenizer, CONFIG)
    assert state_of(adapted) == before
    assert not np.allclose(result.to_pandas()["loss"], plain["loss"], atol=1e-3)
    assert result.verdict.model["path"] == MODEL_PATH


def test_the_verdict_tells_models_apart_by_their_weights(
    model: PreTrainedModel, tokenizer: Any
) -> None:
    def digest() -> str | None:
        return gradgate.detect(ROWS, model, tokenizer, CONFIG).verdict.model["sha256"]

    first = digest()
    assert digest() == first
    model.config._name_or_path = "another folder"
    assert digest() == first
    next(model.parameters()).data[0, 0] += 1
    assert digest() != first


def test_stored_scores_are_those_of_the_same_adapter_at_work(
    model: PreTrainedModel, tokenizer: Any, fresh_state: Path
) -> None:
    """Scale and choice of an adapter are no weights, and decide all the same."""
    stored = {**CONFIG, "scoring": {"store": True}}
    settings = LoraConfig(r=4, lora_alpha=4, target_modules=["q_proj"], init_lora_weights=False)
    adapted: Any = get_peft_model(model, settings)
    adapted.add_adapter("other", settings)

    def scored() -> tuple[int, list[float]]:
        found = gradgate.score(ROWS, adapted, tokenizer, stored)
        return found.summary.n_scored, found.to_pandas()["loss"].tolist()

    first = scored()
    assert first[0] > 0
    assert scored() == (0, first[1])
    adapted.base_model.model.model.layers[0].self_attn.q_proj.scaling["default"] *= 50
    scaled = scored()
    assert scaled[0] == first[0]
    assert scaled[1] != first[1]
    adapted.set_adapter("other")
    assert scored()[0] == first[0]
    with adapted.disable_adapter():
        assert scored()[0] == first[0]


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"adapter": "/no/such/adapter"}, "model.adapter says how a model is loaded"),
        ({"revision": "main"}, "model.revision says how a model is loaded"),
        ({"dtype": "bfloat16"}, "model.dtype is bfloat16, and the loaded model's is float32"),
        ({"device": "cuda:3"}, "model.device is cuda:3, and the loaded model's is cpu"),
    ],
)
def test_settings_that_a_loaded_model_does_not_have_are_an_error(
    settings: dict[str, str], problem: str, model: PreTrainedModel, tokenizer: Any
) -> None:
    with pytest.raises(ConfigError, match=problem):
        gradgate.detect(ROWS, model, tokenizer, {**CONFIG, "model": settings})


def test_a_model_comes_with_its_tokenizer_and_a_path_without(
    model: PreTrainedModel, tokenizer: Any
) -> None:
    given: list[tuple[Any, Any]] = [(model, None), (MODEL_PATH, tokenizer), (MODEL, tokenizer)]
    for pair in given:
        with pytest.raises(ConfigError, match="comes with its tokenizer"):
            gradgate.detect(ROWS, *pair, CONFIG)
