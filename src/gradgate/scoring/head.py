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
from gradgate.scoring.spectrum import Gram, LogitTransform, Moment

_FEWEST_COLUMNS = 64
_PIECES = 16  # in which float64 copies of Delta are made
_CACHED = 2**22  # logits that a processor's cache holds


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
class Block:
    """Samples of about equal T, whose positions lie behind each other.

    Attributes:
        rows: Of their positions among all.
        sample: Number of the sample of each position. (n,)
        within: Number of each position in its sample. (n,)
        lengths: T of each sample. (B,)
        longest: The largest T.
        products: Where Delta of the samples goes.
    """

    rows: slice
    sample: Tensor
    within: Tensor
    lengths: Tensor
    longest: int
    products: Gram | Moment

    def add(self, delta: Tensor) -> None:
        """Add columns of Delta of all positions: (all, some)."""
        padded = delta.new_zeros(
            len(self.lengths), self.longest, delta.shape[1], dtype=torch.float64
        )
        padded[self.sample, self.within] = delta[self.rows].double()
        self.products.add(padded)


class HeadBackward:
    """Sends the loss back into the head's output, piece by piece of the vocabulary."""

    def __init__(self, loaded: LoadedModel, n_columns: int) -> None:
        """Take the head of `loaded`.

        Args:
            loaded: The model.
            n_columns: Keep the derivative of the first columns of the vocabulary only.
        """
        self._loaded = loaded
        self._n_columns = n_columns
        self._room: Tensor | None = None
        self._room_bytes = 0

    def run(self, states: Tensor, targets: Tensor, blocks: list[Block], max_bytes: int) -> Tensor:
        """Add Delta = (softmax(logits) - onehot(target)) * d logits / d z to the blocks.

        No more than about twice `max_bytes` are in use beside them, four times where logits are
        soft-capped. Where the logits of all
        positions do not fit, those of the kept columns are computed a second time.

        Args:
            states: What enters the head. (n, d)
            targets: The tokens that are predicted. (n,)
            blocks: The samples that the positions belong to.
            max_bytes: Of float32 logits at a time.

        Returns:
            Cross-entropy of each position, float64. (n,)
        """
        vocabulary = self._loaded.n_vocabulary
        width = max(_FEWEST_COLUMNS, max_bytes // (4 * len(targets)))
        self._room_bytes = max_bytes
        whole = self._logits(states, 0, vocabulary, width) if width >= vocabulary else None
        seen = _AtTarget(len(targets), targets.device)
        if whole is None:
            for start in range(0, vocabulary, width):
                stop = min(start + width, vocabulary)
                seen.add(self._logits(states, start, stop, width), targets - start)
        else:
            seen.add(whole, targets)
        for start in range(0, self._n_columns, width):
            stop = min(start + width, self._n_columns)
            logits = (
                self._logits(states, start, stop, width) if whole is None else whole[:, start:stop]
            )
            narrow = max(_FEWEST_COLUMNS, logits.shape[1] // _PIECES)
            for piece in logits.split(narrow, dim=1):
                delta = seen.delta(piece, targets - start, self._loaded.transform)
                for block in blocks:
                    block.add(delta)
                start += piece.shape[1]
        return seen.loss.double()

    def _logits(self, states: Tensor, start: int, stop: int, width: int) -> Tensor:
        """Float32 logits of the tokens [start, stop): (n, d) -> (n, stop - start).

        What an earlier call returned may be overwritten.
        """
        head = self._loaded.head
        if type(head) is nn.Linear:
            weight = head.weight[start:stop]
            room = self._take_room(len(states), stop - start, weight)
            z = torch.mm(states, weight.mT, out=room)
            if head.bias is not None:
                z += head.bias[start:stop]
        elif stop - start == self._loaded.n_vocabulary:
            z = head(states)
        else:  # a wrapped head has no columns of its own: take few positions instead
            few = max(1, len(states) * width // self._loaded.n_vocabulary)
            z = torch.cat([head(some)[:, start:stop] for some in states.split(few)])
        return self._loaded.transform(z.float())

    def _take_room(self, n: int, width: int, like: Tensor) -> Tensor:
        """Memory that is used again and again: fresh pages cost a third of the product's time."""
        there = 0 if self._room is None else self._room.numel()
        if (
            self._room is None
            or there < n * width
            or 4 * there > max(self._room_bytes, 4 * n * width)
        ):
            self._room = None
            self._room = like.new_empty(n * width)
        return self._room[: n * width].view(n, width)


class _AtTarget:
    """What is known of the targets once the logits were seen.

    1 - p of an almost certain target is lost in float32, as p and as the loss; so the logits of all
    other tokens are summed up apart from that of the target.
    """

    def __init__(self, n: int, device: torch.device) -> None:
        self._logit = torch.zeros(n, device=device)
        self._others = torch.full((n,), -math.inf, device=device)  # logsumexp

    def add(self, logits: Tensor, targets: Tensor) -> None:
        """See some columns, in which the targets are counted from 0; their place is overwritten."""
        width = logits.shape[1]
        column = targets.clamp(0, width - 1)[:, None]
        inside = ((targets >= 0) & (targets < width))[:, None]
        here = logits.gather(-1, column)
        self._logit = torch.where(inside, here, self._logit[:, None])[:, 0]
        logits.scatter_(-1, column, torch.where(inside, -math.inf, here))
        few = max(1, _CACHED // width)
        sums = [torch.logsumexp(some, dim=-1) for some in logits.split(few)]
        self._others = torch.logaddexp(self._others, torch.cat(sums))

    @property
    def loss(self) -> Tensor:
        """Cross-entropy, (n,): -ln p = ln(1 + e^rest)."""
        return nn.functional.softplus(self._others - self._logit)

    def delta(self, logits: Tensor, targets: Tensor, transform: LogitTransform) -> Tensor:
        """Softmax minus one at the target, times d logits / d z, in some columns."""
        width = logits.shape[1]
        normaliser = self._logit + self.loss
        delta = torch.exp(logits - normaliser[:, None]) * transform.derivative(logits)
        column = targets.clamp(0, width - 1)[:, None]
        inside = ((targets >= 0) & (targets < width))[:, None]
        minus_one = -torch.sigmoid(self._others - self._logit) * transform.derivative(self._logit)
        there = torch.where(inside, minus_one[:, None], delta.gather(-1, column))
        return delta.scatter_(-1, column, there)
