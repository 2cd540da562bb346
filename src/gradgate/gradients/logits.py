"""Logits in bounded memory, and what they say of single tokens."""

from collections.abc import Iterable
from itertools import pairwise

import torch
from torch import Tensor, nn

from gradgate.gradients.exact import exact
from gradgate.gradients.linear import linear
from gradgate.gradients.memory import Budget
from gradgate.models.loading import LoadedModel

# Float32 logits at a time, of all positions and some columns: a processor's cache holds them.
CACHED_BYTES = {"cpu": 16 * 2**20, "cuda": 256 * 2**20}
_MIN_COLUMNS = 64

Span = tuple[int, int]  # columns: the first, and the one behind the last


class Room:
    """Memory that is used again and again: fresh pages cost a third of the product's time."""

    def __init__(self) -> None:
        self._room: Tensor | None = None

    def take(self, n: int, width: int, device: torch.device, max_bytes: int) -> Tensor:
        """Anything in float32, of the shape (n * width,)."""
        there = 0 if self._room is None else self._room.numel()
        if self._room is None or there < n * width or 4 * there > max(max_bytes, 4 * n * width):
            self._room = None
            self._room = torch.empty(n * width, dtype=torch.float32, device=device)
        return self._room[: n * width]


def has_columns(head: nn.Module) -> bool:
    """Whether single columns of its output can be had: not of a wrapped or an offloaded head."""
    return type(head) is nn.Linear and not head.weight.is_meta


def spans(loaded: LoadedModel, n: int, max_bytes: int, borders: Iterable[int] = ()) -> list[Span]:
    """Cut the vocabulary, for n positions, at `borders` and wherever memory or a cache ends."""
    cached = min(max_bytes, CACHED_BYTES[loaded.device.type])
    width = max(_MIN_COLUMNS, cached // (4 * max(1, n)))
    found = []
    for first, last in pairwise(sorted({0, *borders, loaded.n_vocabulary})):
        found += [(at, min(at + width, last)) for at in range(first, last, width)]
    return found


def logits_of(loaded: LoadedModel, states: Tensor, span: Span, max_bytes: int) -> Tensor:
    """Float32 logits of the tokens of a span, which may be overwritten: (n, stop - start).

    Args:
        loaded: The model.
        states: Input of its head. (n, d)
        span: Which tokens.
        max_bytes: Of float32 logits at a time.
    """
    start, stop = span
    head, vocabulary = loaded.head, loaded.n_vocabulary
    if isinstance(head, nn.Linear) and has_columns(head):
        bias = None if head.bias is None else head.bias[start:stop]
        z = linear(states, head.weight[start:stop], bias)
    elif stop - start == vocabulary:
        z = head(states)
    else:  # a wrapped head has no columns of its own: take few positions instead
        few = max(1, max_bytes // (4 * vocabulary))
        z = torch.cat([head(some)[:, start:stop] for some in states.split(few)])
    return loaded.transform(z.float())


def softmax(logits: Tensor, out: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Softmax of each row, and ln of the sum that it was divided by: (n, V), (n,).

    torch's softmax is thrice as fast as its exponential, and its largest value tells the sum.
    A row that is minus infinity throughout gets the lowest finite value in its first column.
    """
    logits[:, :1].clamp_(min=torch.finfo(logits.dtype).min)
    p = torch.softmax(logits, dim=-1, out=out)
    return p, logits.amax(dim=-1) - p.amax(dim=-1).log()


class NextTokens:
    """How likely a model finds tokens, each after what stands before it."""

    def __init__(self, loaded: LoadedModel, logits: Budget) -> None:
        """Take the model as it is.

        Args:
            loaded: The model.
            logits: Bytes of float32 logits at a time; the logits of one position are the least.
        """
        self._loaded = loaded
        self._logits = logits

    def log_probabilities(self, states: Tensor, tokens: Tensor) -> Tensor:
        """Log-probabilities of n tokens, in nats: float32 (n,).

        Args:
            states: Input of the head where they are predicted. (n, d)
            tokens: Their ids. (n,)

        Raises:
            ModelError: Not even the smallest piece fits into memory.
        """
        found: Tensor | None = None
        while found is None:
            found = self._logits.attempt(self._in_pieces, states, tokens)
        return found

    @exact
    def _in_pieces(self, states: Tensor, tokens: Tensor) -> Tensor:
        few = max(1, self._logits.size // (4 * self._loaded.n_vocabulary))
        pieces = zip(states.split(few), tokens.split(few), strict=True)
        return torch.cat([self._piece(*piece) for piece in pieces])

    def _piece(self, states: Tensor, tokens: Tensor) -> Tensor:
        """Of n tokens whose logits are never all there at once."""
        whole = [(0, self._loaded.n_vocabulary)]
        columns = has_columns(self._loaded.head)
        cut = spans(self._loaded, len(states), self._logits.size) if columns else whole
        logit = torch.zeros(len(states), device=states.device)
        total = torch.full_like(logit, -torch.inf)
        for span in cut:
            logits = logits_of(self._loaded, states, span, self._logits.size)
            column, inside = place(tokens, span)
            logit = torch.where(inside, logits.gather(-1, column[:, None])[:, 0], logit)
            total = torch.logaddexp(total, softmax(logits)[1])
        return logit - total


def place(tokens: Tensor, span: Span) -> tuple[Tensor, Tensor]:
    """Column of each token in a span, or any column, and whether it lies there: (n,), (n,)."""
    column = tokens - span[0]
    inside = (column >= 0) & (column < span[1] - span[0])
    return column.clamp(0, span[1] - span[0] - 1), inside
