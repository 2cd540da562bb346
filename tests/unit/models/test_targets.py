"""The modules that an adapter trains by default, in models of many architectures."""

import pytest
import torch
from model_helpers import TINY, WIDE
from torch import nn
from transformers import (
    AutoModelForCausalLM,
    Gemma3Config,
    Gemma3TextConfig,
    GPT2Config,
    Llama4TextConfig,
    LlamaConfig,
    Mamba2Config,
    MambaConfig,
    PretrainedConfig,
    SiglipVisionConfig,
)

from gradgate.errors import ModelError
from gradgate.models.targets import targets_of

LLAMA = {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}
MAMBA2 = {"num_heads": 8, "head_dim": 16, "n_groups": 1, "state_size": 8, "chunk_size": 16}
VISION = SiglipVisionConfig(
    hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2,
    image_size=28, patch_size=14,
)  # fmt: skip
SEEING = Gemma3Config(
    text_config=Gemma3TextConfig(head_dim=16, **WIDE), vision_config=VISION, mm_tokens_per_image=4
)
EXPERTS = {"head_dim": 16, "intermediate_size_mlp": 96, "num_local_experts": 2}


def skeleton(config: PretrainedConfig) -> nn.Module:
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(config)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (LlamaConfig(**WIDE), LLAMA),
        (GPT2Config(**TINY), {"c_attn", "c_proj", "c_fc"}),
        (MambaConfig(state_size=8, **TINY), {"in_proj"}),
        (Mamba2Config(**{**TINY, **MAMBA2}), {"in_proj"}),
        (Llama4TextConfig(**EXPERTS, **WIDE), LLAMA),
        (SEEING, LLAMA),
    ],
    ids=["llama", "gpt2", "mamba", "mamba2", "llama4", "gemma3 that sees"],
)
def test_what_cannot_be_adapted_is_left_out(config, expected) -> None:
    found = targets_of(skeleton(config), "all-linear", "it")
    assert {name.rpartition(".")[2] for name in found} == expected
    assert not [name for name in found if "vision" in name or "router" in name]


def test_an_ordinary_model_has_all_its_linear_layers() -> None:
    model = skeleton(LlamaConfig(**WIDE))
    linear = [name for name, m in model.named_modules() if isinstance(m, nn.Linear)]
    assert targets_of(model, "all-linear", "it") == sorted(set(linear) - {"lm_head"})


def test_nothing_to_adapt_names_what_there_is() -> None:
    with pytest.raises(ModelError, match=r"it has router; .*finetune.kind full"):
        targets_of(nn.ModuleDict({"router": nn.Linear(2, 2)}), "all-linear", "it")


def test_names_that_are_not_there_are_refused() -> None:
    model = skeleton(LlamaConfig(**WIDE))
    assert targets_of(model, ["q_proj"], "it") == ["q_proj"]
    with pytest.raises(ModelError, match=r"no linear module \['nowhere'\]; it has down_proj"):
        targets_of(model, ["q_proj", "nowhere"], "it")
