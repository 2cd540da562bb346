"""Similarity of samples' output-layer gradients to weighted sums of others', forward only.

A sample's gradient is G = Delta^T H / T, so that <G, G'> is the sum over the positions t and s of
(delta_t . delta_s)(h_t . h_s) / (T T'): no V x d matrix is formed.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from gradgate.common.arrays import Floats
from gradgate.data.tokens import Tokens
from gradgate.errors import ModelError
from gradgate.gradients.head import HeadBackward
from gradgate.gradients.head_input import padded_forward
from gradgate.gradients.hidden_states import in_batches
from gradgate.gradients.logits import Room
from gradgate.gradients.predicting import predicted_tokens, predicting_ids, predicting_positions
from gradgate.models.loading import LoadedModel


@dataclass(frozen=True)
class Factors:
    """Delta and H of n positions, of one sample or several.

    Attributes:
        delta: Delta, but for a factor of each position. float32 (n, V)
        hidden: H times that factor. float64 (n, d)
    """

    delta: Tensor
    hidden: Tensor

    def products(self, other: "Factors") -> Tensor:
        """(delta_t . delta_s)(h_t . h_s) of all positions: float64 (n, m)."""
        return (self.delta @ other.delta.mT).double() * (self.hidden @ other.hidden.mT)


@dataclass(frozen=True)
class Direction:
    """A weighted sum of the gradients of samples.

    Attributes:
        factors: Of their positions, sample by sample.
        weights: Of each position. float64 (m,)
    """

    factors: Factors
    weights: Tensor


def mean_direction(
    loaded: LoadedModel, sides: Sequence[tuple[float, Sequence[Tokens]]]
) -> Direction:
    """The sum over sides of a sign times the mean of the samples' gradients of unit length.

    Args:
        loaded: The model.
        sides: Sign and samples of each.

    Raises:
        DataError: A sample has no supervised token.
        ModelError: A gradient vanishes or is not finite, or memory does not suffice.
    """
    factors, weights = list[Factors](), list[Tensor]()
    for sign, samples in sides:
        found: dict[int, Factors] = {}
        _each(loaded, samples, found.__setitem__)
        for own in (found[i] for i in range(len(samples))):
            length = own.products(own).sum().sqrt()
            if not 0 < float(length) < np.inf:
                raise ModelError("the gradient of an anchor vanishes or is not finite")
            factors.append(own)
            weights.append((sign / len(samples) / length).expand(len(own.delta)))
    delta = torch.cat([own.delta for own in factors])
    hidden = torch.cat([own.hidden for own in factors])
    return Direction(Factors(delta, hidden), torch.cat(weights))


def cosines(loaded: LoadedModel, samples: Sequence[Tokens], direction: Direction) -> Floats:
    """<G, direction> / |G| of each sample: (n,); NaN where the gradient vanishes or is not finite.

    Raises:
        DataError: A sample has no supervised token.
        ModelError: Not even the smallest batch fits into memory.
    """
    found = np.full(len(samples), np.nan)

    def take(i: int, own: Factors) -> None:
        along = (own.products(direction.factors) * direction.weights).sum()
        cosine = float(along / own.products(own).sum().sqrt())
        found[i] = cosine if np.isfinite(cosine) else np.nan

    _each(loaded, samples, take)
    return found


def _each(
    loaded: LoadedModel, samples: Sequence[Tokens], take: Callable[[int, Factors], None]
) -> None:
    """Hand out the number and the factors of each sample; some may come twice."""

    @torch.inference_mode()
    def work(batch: list[int]) -> None:
        hidden = padded_forward(loaded, [predicting_ids(samples[i]) for i in batch])
        for states, i in zip(hidden, batch, strict=True):
            positions = torch.from_numpy(predicting_positions(samples[i])).to(states.device)
            targets = torch.from_numpy(predicted_tokens(samples[i])).to(states.device)
            take(i, _factors(loaded, states[positions], targets))

    in_batches(loaded, samples, work)


def _factors(loaded: LoadedModel, states: Tensor, targets: Tensor) -> Factors:
    """Of n positions of one sample."""
    n_bytes = 4 * len(targets) * loaded.n_vocabulary
    backward = HeadBackward(loaded, states, targets, n_bytes, Room())
    hidden = states.double() * backward.targets().factor[:, None]
    return Factors(torch.cat([piece.delta for piece in backward.pieces()], dim=1), hidden)
