"""The head of a model: what enters it, and the Gram matrices of what comes back from the loss.

The model runs without its head on all positions: a hook takes the hidden states where they enter
the head and lets a single position through. The head is then applied to the supervised positions
only. The position that went through the model's own head checks that our logits are the model's
logits; a model that does anything unknown to them is an error and never a wrong score.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from gradgate.errors import ModelError
from gradgate.models import LoadedModel
from gradgate.scoring.spectrum import Gram, Moment

_FEWEST_COLUMNS = 64


def head_input(loaded: LoadedModel, **inputs: Tensor) -> Tensor:
    """Run the model up to its head: (B, L) ids -> (B, L, d).

    Raises:
        ModelError: The model's logits are not those of a linear head.
    """
    with _taking_head_input(loaded.head) as taken:
        output = loaded.model(**inputs, use_cache=False, return_dict=True)
    if len(taken) != 1 or taken[0].shape[:2] != inputs["input_ids"].shape:
        raise ModelError("the model does not apply its head once to every position")
    hidden = taken[0]
    ours = loaded.transform(loaded.head(hidden[-1:, -1:]).float())
    _check_same(ours, output.logits.float(), loaded.dtype)
    return hidden


def padded_forward(loaded: LoadedModel, rows: list[list[int]]) -> Tensor:
    """What enters the head, for rows of ids: (B, L, d).

    Rows are padded on the right with zeros, where causal attention never looks.
    """
    width = max(len(row) for row in rows)
    ids = torch.tensor([row + [0] * (width - len(row)) for row in rows]).to(loaded.device)
    lengths = torch.tensor([len(row) for row in rows]).to(loaded.device)
    mask = torch.arange(width, device=loaded.device) < lengths[:, None]
    return head_input(loaded, input_ids=ids, attention_mask=mask.long())


@contextmanager
def _taking_head_input(head: nn.Module) -> Iterator[list[Tensor]]:
    """Keep what enters the head and let only the last position of the last row through."""
    taken: list[Tensor] = []

    def take(module: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        taken.append(args[0])
        return (args[0][-1:, -1:], *args[1:])

    handle = head.register_forward_pre_hook(take)
    try:
        yield taken
    finally:
        handle.remove()


def _check_same(ours: Tensor, theirs: Tensor, dtype: torch.dtype) -> None:
    tolerance = 1e-4 if dtype == torch.float32 else 2e-2
    same = torch.isclose(ours, theirs, rtol=tolerance, atol=tolerance, equal_nan=True)
    if ours.shape != theirs.shape or not bool(same.all()):
        raise ModelError(
            "the model's logits are not those of its head: it changes them in a way that is not "
            "known here (known: scaling and soft-capping), so no score would be right"
        )


@dataclass(frozen=True)
class Positions:
    """The supervised positions of some samples, one sample behind the other.

    Attributes:
        states: Hidden states that predict them. (n, d)
        targets: The tokens that they predict. (n,)
        sample: Number of the sample of each. (n,)
        within: Number of the position in its sample. (n,)
        lengths: T of each sample. (B,)
        longest: The largest T.
    """

    states: Tensor
    targets: Tensor
    sample: Tensor
    within: Tensor
    lengths: Tensor
    longest: int

    def padded(self, rows: Tensor) -> Tensor:
        """Lay rows out by sample, zero where a sample is over: (n, c) -> (B, T, c)."""
        padded = rows.new_zeros(len(self.lengths), self.longest, rows.shape[1])
        padded[self.sample, self.within] = rows
        return padded


def backward(
    loaded: LoadedModel,
    positions: Positions,
    products: Gram | Moment,
    n_columns: int,
    max_bytes: int,
) -> Tensor:
    """Send the loss back into the head's output.

    Delta = (softmax(logits) - onehot(target)) * d logits / d z is added to `products` piece by
    piece of the vocabulary, so that no more than about five times `max_bytes` are in use beside
    them; with more than one piece, the kept columns are computed a second time.

    Args:
        loaded: The model.
        positions: Of B samples.
        products: Where Delta goes, float64 and padded. (B, T, some columns)
        n_columns: Keep the derivative of the first columns of the vocabulary only.
        max_bytes: Of float32 logits at a time.

    Returns:
        Cross-entropy of each position, float64. (n,)
    """
    n, vocabulary = len(positions.targets), loaded.n_vocabulary
    width = max(_FEWEST_COLUMNS, max_bytes // (4 * n))
    whole = _logits(loaded, positions.states, 0, vocabulary, width) if width >= vocabulary else None
    normaliser, at_target = _normaliser(loaded, positions, whole, width)
    # float64 copies of a piece, padded: an eighth of the width keeps them within the bound
    narrow = max(_FEWEST_COLUMNS, width // 8)
    for start in range(0, n_columns, width):
        stop = min(start + width, n_columns)
        logits = (
            _logits(loaded, positions.states, start, stop, width)
            if whole is None
            else whole[:, start:stop]
        )
        delta = _delta(loaded, logits, positions.targets - start, normaliser, at_target)
        for piece in delta.split(narrow, dim=1):
            products.add(positions.padded(piece.double()))
    return (normaliser - at_target).double()


def _logits(loaded: LoadedModel, states: Tensor, start: int, stop: int, width: int) -> Tensor:
    """Float32 logits of the tokens [start, stop): (n, d) -> (n, stop - start)."""
    head = loaded.head
    if type(head) is nn.Linear:
        bias = None if head.bias is None else head.bias[start:stop]
        z = nn.functional.linear(states, head.weight[start:stop], bias)
    elif stop - start == loaded.n_vocabulary:
        z = head(states)
    else:  # a wrapped head has no columns of its own: take few positions instead
        few = max(1, len(states) * width // loaded.n_vocabulary)
        z = torch.cat([head(some)[:, start:stop] for some in states.split(few)])
    return loaded.transform(z.float())


def _normaliser(
    loaded: LoadedModel, positions: Positions, whole: Tensor | None, width: int
) -> tuple[Tensor, Tensor]:
    """Logarithm of the softmax's denominator, and the logit of the target: (n,) each."""
    targets = positions.targets
    if whole is not None:
        return torch.logsumexp(whole, dim=-1), whole.gather(-1, targets[:, None])[:, 0]
    normaliser = torch.full(targets.shape, -math.inf, device=targets.device)
    at_target = torch.zeros_like(normaliser)
    for start in range(0, loaded.n_vocabulary, width):
        stop = min(start + width, loaded.n_vocabulary)
        logits = _logits(loaded, positions.states, start, stop, width)
        normaliser = torch.logaddexp(normaliser, torch.logsumexp(logits, dim=-1))
        column = (targets - start).clamp(0, stop - start - 1)
        inside = (start <= targets) & (targets < stop)
        at_target = torch.where(inside, logits.gather(-1, column[:, None])[:, 0], at_target)
    return normaliser, at_target


def _delta(
    loaded: LoadedModel, logits: Tensor, targets: Tensor, normaliser: Tensor, at_target: Tensor
) -> Tensor:
    """Derivative of each position's loss by the head's output, in the columns of `logits`."""
    width = logits.shape[1]
    delta = torch.exp(logits - normaliser[:, None])
    column = targets.clamp(0, width - 1)[:, None]
    inside = ((targets >= 0) & (targets < width))[:, None]
    # expm1 keeps p - 1 exact where p is almost 1
    minus_one = torch.expm1(at_target - normaliser)[:, None]
    delta.scatter_(-1, column, torch.where(inside, minus_one, delta.gather(-1, column)))
    return delta * loaded.transform.derivative(logits)
