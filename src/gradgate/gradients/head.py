"""The head backwards: the derivative of the loss by the head's output, some columns at a time."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from gradgate.gradients.logits import CACHED_LOGITS, Room, logits_of
from gradgate.models.loading import LoadedModel

_MIN_COLUMNS = 64


@dataclass(frozen=True)
class Targets:
    """Loss of n positions, and a factor of Delta, once all their logits were seen.

    Attributes:
        loss: Cross-entropy, float64. (n,)
        factor: (1 - p of the target) * scale of the logits, by which `Piece.delta` is too large;
            float64. (n,)
        watched: ln of the summed probability of the watched tokens, float64; -inf where none is
            watched. (n,)
    """

    loss: Tensor
    factor: Tensor
    watched: Tensor


@dataclass(frozen=True)
class Piece:
    """Some columns of Delta.

    Attributes:
        start: The first of them.
        delta: Delta / factor: minus one at the target, else a softmax over all other tokens (both
            times the slope of soft-capping). An almost certain target does not make it
            small. (n, some)
    """

    start: int
    delta: Tensor

    @property
    def stop(self) -> int:
        """The column behind the last one."""
        return self.start + self.delta.shape[1]


class HeadBackward:
    """Sends the loss back into the head's output: Delta = (p - onehot(target)) * d logits / d z.

    First `targets`, then `pieces`. No more than about twice `max_bytes` are in use. Where the
    logits of all positions do not fit into `max_bytes`, they are computed a second time.
    """

    def __init__(
        self,
        loaded: LoadedModel,
        states: Tensor,
        targets: Tensor,
        max_bytes: int,
        room: Room,
        watched: Tensor | None = None,
    ) -> None:
        """Take n positions.

        Args:
            loaded: The model.
            states: Input of its head. (n, d)
            targets: The tokens that are predicted. (n,)
            max_bytes: Of float32 logits at a time.
            room: For the logits; its former content is overwritten.
            watched: Tokens whose summed probability is wanted. (m,)
        """
        self._loaded = loaded
        self._states = states
        self._targets = targets
        self._max_bytes = max_bytes
        self._room = room
        self._width = max(_MIN_COLUMNS, max_bytes // (4 * len(targets)))
        self._logit = torch.zeros(len(targets), device=targets.device)
        # logsumexp of all logits but the target's: 1 - p of an almost certain target is lost in
        # float32, as p and as the loss.
        self._others = torch.full_like(self._logit, -math.inf)
        self._watched = targets[:0] if watched is None else watched
        self._watched_logits = self._logit.new_empty(len(targets), len(self._watched))
        self._whole: Tensor | None = None

    def targets(self) -> Targets:
        """See all logits once."""
        vocabulary = self._loaded.n_vocabulary
        if self._width >= vocabulary:
            self._whole = self._logits(0, vocabulary)
            self._take_watched(self._whole, 0)
            self._take_targets(self._whole, 0)
            self._others = self._softmax(self._whole)
        else:
            for start in range(0, vocabulary, self._width):
                logits = self._logits(start, min(start + self._width, vocabulary))
                self._take_watched(logits, start)
                self._take_targets(logits, start)
                self._others = torch.logaddexp(self._others, _logsumexp(logits))
        below = self._others - self._logit  # ln((1 - p) / p)
        rest = torch.sigmoid(below.double()) * self._loaded.transform.scale
        total = torch.logaddexp(self._others, self._logit)
        watched = (torch.logsumexp(self._watched_logits, dim=1) - total).clamp(max=0.0)
        return Targets(nn.functional.softplus(below).double(), rest, watched.double())

    def pieces(self, borders: tuple[int, ...]) -> Iterator[Piece]:
        """All columns of Delta, from the first one on; no piece goes beyond one of `borders`."""
        starts = sorted({0, *borders, self._loaded.n_vocabulary})
        for first, last in pairwise(starts):
            for start in range(first, last, self._width):
                stop = min(start + self._width, last)
                if self._whole is not None:
                    yield Piece(start, self._whole[:, start:stop])
                else:
                    yield Piece(start, self._again(start, stop))

    def _take_watched(self, logits: Tensor, start: int) -> None:
        """Keep the logits of the watched tokens that lie in some columns."""
        column = self._watched - start
        inside = (column >= 0) & (column < logits.shape[1])
        here = logits.index_select(1, column.clamp(0, logits.shape[1] - 1))
        self._watched_logits = torch.where(inside, here, self._watched_logits)

    def _take_targets(self, logits: Tensor, start: int) -> None:
        """Keep the logits of the targets that lie in some columns, and put -inf in their place."""
        column, inside = self._where(logits, start)
        here = logits.gather(-1, column)
        self._logit = torch.where(inside, here, self._logit[:, None])[:, 0]
        logits.scatter_(-1, column, torch.where(inside, -math.inf, here))

    def _softmax(self, logits: Tensor) -> Tensor:
        """Turn all logits into Delta / factor, in place, and return their logsumexp: (n,)."""
        found = []
        for some in logits.split(max(1, CACHED_LOGITS // logits.shape[1])):
            p = torch.softmax(some, dim=-1)
            found.append(some.amax(dim=-1) - p.amax(dim=-1).log())
            some.copy_(self._capped(p, some))
        self._put_targets(logits, 0)
        return torch.cat(found)

    def _again(self, start: int, stop: int) -> Tensor:
        logits = self._logits(start, stop)
        delta = self._capped(torch.exp(logits - self._others[:, None]), logits)
        self._put_targets(delta, start)
        return delta

    def _capped(self, p: Tensor, logits: Tensor) -> Tensor:
        return p if self._loaded.transform.cap is None else p * self._loaded.transform.slope(logits)

    def _put_targets(self, delta: Tensor, start: int) -> None:
        column, inside = self._where(delta, start)
        at_target = self._capped(-torch.ones_like(self._logit), self._logit)
        there = torch.where(inside, at_target[:, None], delta.gather(-1, column))
        delta.scatter_(-1, column, there)

    def _where(self, columns: Tensor, start: int) -> tuple[Tensor, Tensor]:
        """Column of each target in a piece, or any column, and whether it lies in it: (n, 1)."""
        column = self._targets - start
        inside = (column >= 0) & (column < columns.shape[1])
        return column.clamp(0, columns.shape[1] - 1)[:, None], inside[:, None]

    def _logits(self, start: int, stop: int) -> Tensor:
        """Float32 logits of the tokens [start, stop), which the next call may overwrite."""
        columns = (start, stop)
        return logits_of(self._loaded, self._states, columns, self._max_bytes, self._room)


def _logsumexp(logits: Tensor) -> Tensor:
    few = max(1, CACHED_LOGITS // logits.shape[1])
    return torch.cat([torch.logsumexp(some, dim=-1) for some in logits.split(few)])
