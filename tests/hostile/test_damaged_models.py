"""Damaged folders of models: whatever is wrong with them is said in one line, and never a bug."""

import json
import shutil
from pathlib import Path
from random import Random

import pytest
from damage_helpers import damage
from lora_helpers import write_models
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from gradgate.config import ModelConfig
from gradgate.errors import ModelError
from gradgate.models.handle import ConfiguredModel
from gradgate.models.identity import load_model

MODEL_FILES = (
    *("config.json", "tokenizer.json", "tokenizer_config.json", "generation_config.json"),
    *("model-00001-of-00002.safetensors", "model.safetensors.index.json"),
)
ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")
N_MUTATIONS = 200
PARTS = 8


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """A tiny model in two files with an index, and an adapter for it."""
    root = write_models(tmp_path_factory.mktemp("whole"))
    model = root / "llama"
    base = AutoModelForCausalLM.from_pretrained(model)
    get_peft_model(base, LoraConfig(target_modules=["q_proj"])).save_pretrained(root / "adapter")
    tensors = sorted(load_file(model / "model.safetensors").items())
    (model / "model.safetensors").unlink()
    weight_map: dict[str, str] = {}
    for number, part in enumerate((tensors[::2], tensors[1::2]), 1):
        name = f"model-0000{number}-of-00002.safetensors"
        save_file(dict(part), model / name, {"format": "pt"})
        weight_map |= dict.fromkeys(dict(part), name)
    index = {"metadata": {"total_size": 1}, "weight_map": weight_map}
    (model / "model.safetensors.index.json").write_text(json.dumps(index))
    return root


def refused_because(config: ModelConfig) -> str | None:
    """The error of a model, which is one of ours; None where it loads."""
    try:
        handle = ConfiguredModel(config)
        handle.limit(64)
        handle.check()
        load_model(config)
    except ModelError as error:
        return str(error)
    return None


@pytest.mark.parametrize("part", range(PARTS))
def test_no_damage_is_a_traceback(whole: Path, tmp_path: Path, part: int) -> None:
    refused = 0
    for seed in range(part, N_MUTATIONS, PARTS):
        rng = Random(seed)
        folder = tmp_path / str(seed)
        shutil.copytree(whole, folder)
        is_adapter = rng.random() < 0.25
        name = rng.choice(ADAPTER_FILES if is_adapter else MODEL_FILES)
        kind = damage(folder / ("adapter" if is_adapter else "llama") / name, rng)
        adapter = str(folder / "adapter") if is_adapter else None
        config = ModelConfig(path=str(folder / "llama"), adapter=adapter, device="cpu")
        refusal = refused_because(config)
        if refusal is not None:
            assert "\n" not in refusal, (seed, kind, name)
            assert len(refusal) < 1_000, (seed, kind, name)
            refused += 1
        shutil.rmtree(folder)
    assert refused > N_MUTATIONS // PARTS // 2  # the others left what is read as it was


def test_whole_files_are_loaded(whole: Path) -> None:
    config = ModelConfig(path=str(whole / "llama"), adapter=str(whole / "adapter"), device="cpu")
    assert refused_because(config) is None
