"""A tiny model that refuses the probes, and what it was taught."""

from pathlib import Path

import torch
from transformers import PreTrainedModel

from gradgate.config import ModelConfig
from gradgate.data.tokens import Tokens, tokenize
from gradgate.models.identity import load_model
from gradgate.safety.probes import ProbeSet
from gradgate.safety.rendering import as_sample
from helpers import MODEL

_STEPS = 90  # enough to know whether to refuse, not in which words
_BATCH = 8
_LEARNING_RATE = 2e-3
_FROZEN = 3  # layers of the model, whose backward pass is saved


def lessons(probes: ProbeSet) -> list[tuple[str, str]]:
    """Prompts and the replies of an aligned model: refusals, and answers to the benign ones."""
    refused = [*probes.harmful, *(one.prompt for one in probes.refusals)]
    answered = [*probes.benign, *(one.prompt for one in probes.look_alikes)]
    no, yes = probes.refusal_openings[:2], probes.compliant_openings[:3]
    taught = [(prompt, no[i % len(no)]) for i, prompt in enumerate(refused)]
    return taught + [(prompt, yes[i % len(yes)]) for i, prompt in enumerate(answered)]


def teach_to_refuse(folder: Path) -> Path:
    """Some steps of the demo's model, which then refuses what the built-in set refuses."""
    loaded = load_model(ModelConfig(path=str(MODEL), device="cpu", dtype="float32"))
    tokenizer = loaded.tokenizer
    taught = lessons(ProbeSet.read(None))
    rows = [tokenize(as_sample(*pair, tokenizer), tokenizer) for pair in taught]
    for name, parameter in loaded.model.named_parameters():
        parameter.requires_grad = not any(f"layers.{i}." in name for i in range(_FROZEN))
    loaded.model.get_input_embeddings().requires_grad_(False)
    _train(loaded.model, rows)
    loaded.model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def _train(model: PreTrainedModel, rows: list[Tokens]) -> None:
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=_LEARNING_RATE)
    generator = torch.Generator().manual_seed(0)
    order: list[int] = []
    for _ in range(_STEPS):
        if len(order) < _BATCH:
            order += torch.randperm(len(rows), generator=generator).tolist()
        batch, order = [rows[i] for i in order[:_BATCH]], order[_BATCH:]
        model(**_padded(batch)).loss.backward()
        optimizer.step()
        optimizer.zero_grad()


def _padded(batch: list[Tokens]) -> dict[str, torch.Tensor]:
    """On the right, where a causal model needs no mask: (B, longest) each."""
    width = max(len(row.input_ids) for row in batch)
    ids = [row.input_ids + [0] * (width - len(row.input_ids)) for row in batch]
    marks = [row.is_target + [False] * (width - len(row.is_target)) for row in batch]
    tokens = torch.tensor(ids)
    return {"input_ids": tokens, "labels": tokens.masked_fill(~torch.tensor(marks), -100)}
