"""The head backwards: the derivative of the loss by the head's output, some columns at a time."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from gradgate.gradients.logits import Room, Span, has_columns, logits_of, place, softmax, spans
from gradgate.models.loading import LoadedModel


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

    First `targets`, then `pieces`, once. Some columns of all positions are computed at a time, as
    many as a cache holds. Where all of Delta does not fit into `max_bytes`, it is computed twice.
    """

    def __init__(
        self,
        loaded: LoadedModel,
        states: Tensor,
        targets: Tensor,
        max_bytes: int,
        room: Room,
        watched: Tensor | None = None,
        borders: Iterable[int] = (),
    ) -> None:
        """Take n positions.

        Args:
            loaded: The model.
            states: Input of its head. (n, d)
            targets: The tokens that are predicted. (n,)
            max_bytes: Of float32 logits at a time.
            room: For Delta; its former content is overwritten.
            watched: Tokens whose summed probability is wanted. (m,)
            borders: Columns that no piece goes beyond.
        """
        self._loaded = loaded
        self._states = states
        self._targets = targets
        self._max_bytes = max_bytes
        self._spans = spans(loaded, len(targets), max_bytes, borders)
        self._logit = torch.zeros(len(targets), device=targets.device)
        # logsumexp of all logits but the target's: 1 - p of an almost certain target is lost in
        # float32, as p and as the loss.
        self._others = torch.full_like(self._logit, -math.inf)
        self._watched = targets[:0] if watched is None else watched
        self._watched_logits = self._logit.new_empty(len(targets), len(self._watched))
        self._room: Tensor | None = None
        self._kept: list[tuple[Tensor, Tensor]] = []
        self._output: Tensor | None = None
        if 4 * len(targets) * loaded.n_vocabulary <= max_bytes:
            size = len(targets), loaded.n_vocabulary
            self._room = room.take(*size, targets.device, max_bytes)
            if not has_columns(loaded.head):
                self._output = loaded.head(states)

    def targets(self) -> Targets:
        """See all logits once."""
        for span in self._spans:
            delta, total = self._softmax(span)
            self._others = torch.logaddexp(self._others, total)
            if self._room is not None:
                self._kept.append((delta, total))
        below = self._others - self._logit  # ln((1 - p) / p)
        rest = torch.sigmoid(below.double()) * self._loaded.transform.scale
        total = torch.logaddexp(self._others, self._logit)
        watched = (torch.logsumexp(self._watched_logits, dim=1) - total).clamp(max=0.0)
        return Targets(nn.functional.softplus(below).double(), rest, watched.double())

    def pieces(self) -> Iterator[Piece]:
        """All columns of Delta, from the first one on; a piece may overwrite the one before."""
        for i, span in enumerate(self._spans):
            delta, total = self._kept[i] if self._kept else self._softmax(span)
            delta *= torch.exp(total - self._others)[:, None]
            self._put_targets(delta, span)
            yield Piece(span[0], delta)

    def _softmax(self, span: Span) -> tuple[Tensor, Tensor]:
        """Softmax over a span without the targets, times the slope, and ln of its sum."""
        logits = self._logits(span)
        self._take_watched(logits, span)
        self._take_targets(logits, span)
        p, total = softmax(logits, self._room_for(span))
        if self._loaded.transform.cap is not None:
            p *= self._loaded.transform.slope(logits)
        return p, total

    def _room_for(self, span: Span) -> Tensor | None:
        if self._room is None:
            return None
        n = len(self._targets)
        return self._room[n * span[0] : n * span[1]].view(n, -1)

    def _take_watched(self, logits: Tensor, span: Span) -> None:
        """Keep the logits of the watched tokens that lie in a span."""
        column, inside = place(self._watched, span)
        here = logits.index_select(1, column)
        self._watched_logits = torch.where(inside, here, self._watched_logits)

    def _take_targets(self, logits: Tensor, span: Span) -> None:
        """Keep the logits of the targets that lie in a span, and put the lowest in their place."""
        column, inside = (some[:, None] for some in place(self._targets, span))
        here = logits.gather(-1, column)
        self._logit = torch.where(inside, here, self._logit[:, None])[:, 0]
        logits.scatter_(-1, column, torch.where(inside, torch.finfo(logits.dtype).min, here))

    def _put_targets(self, delta: Tensor, span: Span) -> None:
        column, inside = (some[:, None] for some in place(self._targets, span))
        at_target = -torch.ones_like(self._logit)
        if self._loaded.transform.cap is not None:
            at_target *= self._loaded.transform.slope(self._logit)
        there = torch.where(inside, at_target[:, None], delta.gather(-1, column))
        delta.scatter_(-1, column, there)

    def _logits(self, span: Span) -> Tensor:
        """Float32 logits of a span, which may be overwritten."""
        if self._output is not None:
            return self._loaded.transform(self._output[:, span[0] : span[1]].float())
        return logits_of(self._loaded, self._states, span, self._max_bytes)
