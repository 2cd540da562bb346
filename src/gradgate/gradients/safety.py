"""The gradient of the safety scores of a probing set by the head's weight, at the model as it is.

A score is S = sum of weight * ln p(token | before) over the tokens of its terms. Its gradient by
the head's weight is a sum of rank-1 terms a_j b_j^T, one for each place that a weighted token is
predicted at: a_j = weight * (onehot(token) - p) * d logits / d z, and b_j what enters the head.
Terms at the same place are one, and a beginning that probes share goes through the model once.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Protocol

import torch
from torch import Tensor

from gradgate.config import ScoringConfig
from gradgate.data.tokens import Tokens
from gradgate.gradients.factors import PROXIES, FactorSum, SafetyGradient
from gradgate.gradients.logits import logits_of
from gradgate.gradients.scorer import Scorer
from gradgate.models.loading import LoadedModel

__all__ = ["PROXIES", "ProxyTerm", "SafetyGradient", "SafetySource", "head_factors"]

_TERMS = 256  # that are added together

Before = tuple[int, ...]  # the tokens that stand before a place
Place = dict[int, list[float]]  # a token that is predicted there -> its weight in each score
Predicted = tuple[int, int, list[float]]  # number of the state, token, weights


@dataclass(frozen=True)
class ProxyTerm:
    """A part of a differentiable safety score: sum of weight * ln p(token | before).

    Attributes:
        input_ids: A prompt and an opening of an answer.
        weights: Of each of them; zero for tokens that are only given, as the first one is.
    """

    input_ids: Sequence[int]
    weights: Sequence[float]

    def __post_init__(self) -> None:
        if len(self.input_ids) != len(self.weights):
            raise ValueError(f"{len(self.input_ids)} tokens have {len(self.weights)} weights")
        if not any(self.weights) or self.weights[0]:
            raise ValueError("a term weighs at least one token, and not its first one")


class SafetySource(Protocol):
    """A probing set, which makes the gradient of its scores once a model is there.

    Attributes:
        digest: SHA-256, in hex, of all that decides the gradient besides the model.
    """

    @property
    def digest(self) -> str:
        """As said above; known without the model."""

    def build(self, loaded: LoadedModel) -> SafetyGradient:
        """The gradient at the model as it is."""


def head_factors(
    loaded: LoadedModel,
    proxies: Mapping[str, Sequence[ProxyTerm]],
    refusal_tokens: Iterable[int],
) -> SafetyGradient:
    """The gradients of the safety scores by the head's weight, in factors.

    Memory: a basis of V rows and at most 2 * max(128, d / 4) columns and 256 more, in float64 for
    a float32 model and in float32 otherwise, however many terms there are.

    Args:
        loaded: The model, in eval mode.
        proxies: The terms of each score, by the names in `PROXIES`.
        refusal_tokens: Tokens that begin a refusal.

    Raises:
        ModelError: The model's output is not finite, a gradient vanishes, or the model looks at
            later tokens.
        ValueError: A score is missing or unknown, or there is no refusal token.
    """
    tokens = sorted({int(token) for token in refusal_tokens})
    if set(proxies) != set(PROXIES) or not tokens:
        raise ValueError(f"needed are the scores {', '.join(PROXIES)}, and a refusal token")
    total = FactorSum(loaded.n_vocabulary, loaded.n_hidden, loaded.dtype)
    for states, predicted in _places(loaded, _merged(proxies)):
        for start in range(0, len(predicted), _TERMS):
            some = predicted[start : start + _TERMS]
            right = states[[at for at, _, _ in some]]
            left = _left(loaded, right, [token for _, token, _ in some], total.dtype)
            weights = left.new_tensor([weights for _, _, weights in some]).mT
            total.add(left, right.to(total.dtype), weights)
    return total.gradient(torch.tensor(tokens, device=loaded.head_device))


def _merged(proxies: Mapping[str, Sequence[ProxyTerm]]) -> dict[Before, Place]:
    """All terms by what stands before their tokens."""
    places: dict[Before, Place] = defaultdict(dict)
    for number, name in enumerate(PROXIES):
        for term in proxies[name]:
            ids = tuple(term.input_ids)
            for i, weight in enumerate(term.weights):
                if weight:
                    weights = places[ids[:i]].setdefault(ids[i], [0.0] * len(PROXIES))
                    weights[number] += weight
    return places


def _places(
    loaded: LoadedModel, merged: dict[Before, Place]
) -> Iterator[tuple[Tensor, list[Predicted]]]:
    """Run the places through the model: what enters the head, (n, d), and what is predicted."""
    samples, places_of = _samples(merged)
    scorer = Scorer(loaded, ScoringConfig(), max(len(sample.input_ids) for sample in samples))
    if scorer.order == "length":
        samples.sort(key=lambda sample: len(sample.input_ids))
    for passed in scorer.passed(samples):
        places = [place for sample in passed.samples for place in places_of[id(sample)]]
        yield (
            passed.states,
            [(i, *one) for i, place in enumerate(places) for one in place.items()],
        )


def _samples(merged: dict[Before, Place]) -> tuple[list[Tokens], dict[int, list[Place]]]:
    """Sequences by rising ids that have each place once, and the places of each by its id()."""
    samples: list[Tokens] = []
    places_of: dict[int, list[Place]] = {}
    done = set[Before]()
    befores = sorted(merged)
    for ids, following in zip_longest(befores, befores[1:], fillvalue=()):
        if following[: len(ids)] == ids:
            continue
        ends = [n for n in range(1, len(ids) + 1) if ids[:n] in merged and ids[:n] not in done]
        done |= {ids[:n] for n in ends}
        # the token at `end` is predicted there, whichever it is
        samples.append(Tokens([*ids, 0], [n in ends for n in range(len(ids) + 1)]))
        places_of[id(samples[-1])] = [merged[ids[:n]] for n in ends]
    return samples, places_of


@torch.inference_mode()
def _left(loaded: LoadedModel, states: Tensor, tokens: list[int], dtype: torch.dtype) -> Tensor:
    """The gradient of ln p of m tokens by the head's output: (V, m)."""
    columns = (0, loaded.n_vocabulary)
    logits = logits_of(loaded, states, columns, 4 * len(states) * columns[1]).to(dtype)
    left = -torch.softmax(logits, dim=-1)
    left[range(len(tokens)), tokens] += 1.0
    return (left * loaded.transform.slope(logits) * loaded.transform.scale).mT
