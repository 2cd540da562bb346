"""Anchors: harmful prompts with replies that comply, and with replies that refuse."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from pydantic import Field
from transformers import PreTrainedTokenizerBase

from gradgate.common.arrays import Floats
from gradgate.data.sample import RejectedRowError
from gradgate.data.tokens import Tokens, tokenize_all
from gradgate.errors import ModelError
from gradgate.methods.peers.cutoff import CutoffConfig
from gradgate.safety.probes import Exchange, ProbeSet
from gradgate.safety.rendering import as_sample


class AnchorsConfig(CutoffConfig):
    """Settings of methods that hold rows against anchors."""

    probes: str | None = Field(
        None,
        min_length=1,
        description="JSON file with the probing set whose canaries are the harmful anchors and "
        "whose refusals are the safe ones; the built-in one when absent.",
    )


@dataclass(frozen=True)
class Anchors:
    """Tokenized as rows are.

    Attributes:
        probes: That they are taken from.
        harmful: The probing set's canaries.
        safe: Its refusals.
    """

    probes: ProbeSet
    harmful: list[Tokens]
    safe: list[Tokens]


def read_anchors(settings: AnchorsConfig, tokenizer: PreTrainedTokenizerBase) -> Anchors:
    """Read and tokenize the anchors.

    Raises:
        ConfigError: There is no such probing set.
        ModelError: The model cannot read one of them.
    """
    probes = ProbeSet.read(settings.probes)
    harmful = _tokenized(probes.canaries, tokenizer)
    return Anchors(probes, harmful, _tokenized(probes.refusals, tokenizer))


def _tokenized(exchanges: Sequence[Exchange], tokenizer: PreTrainedTokenizerBase) -> list[Tokens]:
    samples = [as_sample(one.prompt, one.reply, tokenizer) for one in exchanges]
    found = []
    for one, outcome in zip(exchanges, tokenize_all(samples, tokenizer), strict=True):
        if isinstance(outcome, RejectedRowError):
            raise ModelError(
                f"the model cannot read the anchor {one.prompt!a}: {outcome}; change the "
                "probing set, or use another model"
            )
        found.append(outcome)
    return found


def nearer(states: Floats, harmful: Floats, safe: Floats) -> Floats:
    """Mean cosine to the one side less that to the other: (n, d), (a, d), (b, d) -> (n,)."""
    toward = _unit(harmful).mean(axis=0) - _unit(safe).mean(axis=0)
    return np.asarray(_unit(states) @ toward)


def _unit(vectors: Floats) -> Floats:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))
