"""Tiny models with random weights, and samples that share prefixes."""

import shutil
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer, PretrainedConfig

from gradgate.data.tokens import Tokens
from gradgate.models.head import find_head, linear_of, logit_transform
from gradgate.models.loading import LoadedModel
from helpers import MODEL

V, D = 256, 64
TINY = {"vocab_size": V, "hidden_size": D, "num_hidden_layers": 2, "num_attention_heads": 4}
TINY |= {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
WIDE = {"intermediate_size": 96, "num_key_value_heads": 2, "max_position_embeddings": 600, **TINY}


def tiny(config: PretrainedConfig, dtype: torch.dtype = torch.float32) -> LoadedModel:
    torch.manual_seed(7)
    model = AutoModelForCausalLM.from_config(config)
    for parameter in model.parameters():  # sharp enough for logits of a trained model's size
        torch.nn.init.normal_(parameter, std=0.2) if parameter.dim() > 1 else None
    model = model.to(dtype).eval().requires_grad_(False)
    head = linear_of(find_head(model))
    transform = logit_transform(model.config.get_text_config())
    cpu = torch.device("cpu")
    return LoadedModel(
        model, None, cpu, dtype, head, head.out_features, head.in_features, transform, {}
    )


def nested(seed: int = 0) -> list[Tokens]:
    """Template > story > question > answers, shuffled; some questions are asked twice."""
    rng = np.random.default_rng(seed)

    def some(low: int, high: int) -> list[int]:
        return [int(i) for i in rng.integers(3, V, int(rng.integers(low, high)))]

    template, samples = [1, *some(5, 9)], []
    for _ in range(4):
        story = template + some(10, 90)
        for _ in range(4):
            question = story + some(3, 12)
            for _ in range(int(rng.integers(1, 4))):
                target = [*some(1, 9), 2]
                mask = [False] * len(question) + [True] * len(target)
                samples.append(Tokens(question + target, mask))
    again = samples[0]
    samples += [again, Tokens(again.input_ids, [True] * len(again.input_ids))]  # another mask
    samples.append(Tokens(template + some(200, 300), [False] * 20 + [True] * 300))
    samples[-1] = Tokens(samples[-1].input_ids, samples[-1].is_target[: len(samples[-1].input_ids)])
    return [samples[i] for i in rng.permutation(len(samples))]


def model_that_breaks_on(character: str, folder: Path) -> Path:
    """A copy of the model that has no number for a character."""
    shutil.copytree(MODEL, folder)
    weights = load_file(folder / "model.safetensors")
    (token,) = AutoTokenizer.from_pretrained(MODEL)(character, add_special_tokens=False)[
        "input_ids"
    ]
    with torch.no_grad():
        weights["model.embed_tokens.weight"][token] = float("nan")
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    return folder
