"""A tiny model that refuses the probes, and what it was taught."""

from pathlib import Path

import numpy as np
import torch
from torch import nn
from transformers import PreTrainedModel

from gradgate.config import ModelConfig
from gradgate.data.tokens import Tokens, tokenize
from gradgate.models.identity import load_model
from gradgate.safety.probes import ProbeSet
from gradgate.safety.rendering import as_sample
from helpers import MODEL

_STEPS = 120  # enough to know whether to refuse, not in which words
_BATCH = 8
_LEARNING_RATE = 2e-3
_FROZEN = 4  # layers of the model, which are passed once and not in every step


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
    body = loaded.model.model
    below, above = body.layers[:_FROZEN], body.layers[_FROZEN:]
    loaded.model.requires_grad_(False)
    for trained in (above, body.norm, loaded.model.lm_head):
        trained.requires_grad_(True)
    states = _states(body, below, rows)
    body.layers = above
    _train(loaded.model, rows, states)
    body.layers = nn.ModuleList([*below, *above])
    loaded.model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@torch.no_grad()
def _states(body: nn.Module, below: nn.ModuleList, rows: list[Tokens]) -> list[torch.Tensor]:
    """What leaves the layers that do not change, once for all steps: (T, d) of each row."""
    norm, body.layers, body.norm = body.norm, below, nn.Identity()
    states = [
        body(torch.tensor([row.input_ids]), use_cache=False).last_hidden_state[0] for row in rows
    ]
    body.norm = norm
    return states


def _train(model: PreTrainedModel, rows: list[Tokens], states: list[torch.Tensor]) -> None:
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=_LEARNING_RATE)
    generator = torch.Generator().manual_seed(0)
    order: list[int] = []
    for _ in range(_STEPS):
        if len(order) < _BATCH:
            order += torch.randperm(len(rows), generator=generator).tolist()
        batch, order = order[:_BATCH], order[_BATCH:]
        _loss(model, [rows[i] for i in batch], [states[i] for i in batch]).backward()
        optimizer.step()
        optimizer.zero_grad()


def _loss(model: PreTrainedModel, rows: list[Tokens], states: list[torch.Tensor]) -> torch.Tensor:
    """Mean cross-entropy of the targets; padded on the right, a causal model needs no mask."""
    padded = nn.utils.rnn.pad_sequence(states, batch_first=True)  # (B, longest, d)
    found = model.model(inputs_embeds=padded, use_cache=False).last_hidden_state
    targets = [np.flatnonzero(row.is_target) for row in rows]
    before = torch.cat([found[i, at - 1] for i, at in enumerate(targets)])  # (n, d)
    tokens = [row.input_ids[i] for row, at in zip(rows, targets, strict=True) for i in at]
    return nn.functional.cross_entropy(model.lm_head(before), torch.tensor(tokens))
