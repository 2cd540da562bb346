"""Logits in bounded memory, and what they say of single tokens."""

import torch
from torch import Tensor, nn

from gradgate.gradients.memory import Budget
from gradgate.models.loading import LoadedModel

CACHED_LOGITS = 2**22  # that a processor's cache holds


class Room:
    """Memory that is used again and again: fresh pages cost a third of the product's time."""

    def __init__(self) -> None:
        self._room: Tensor | None = None

    def take(self, n: int, width: int, like: Tensor, max_bytes: int) -> Tensor:
        """Anything of the shape (n, width)."""
        there = 0 if self._room is None else self._room.numel()
        if self._room is None or there < n * width or 4 * there > max(max_bytes, 4 * n * width):
            self._room = None
            self._room = like.new_empty(n * width)
        return self._room[: n * width].view(n, width)


def logits_of(
    loaded: LoadedModel, states: Tensor, columns: tuple[int, int], max_bytes: int, room: Room
) -> Tensor:
    """Float32 logits of the tokens [start, stop): (n, stop - start).

    Args:
        loaded: The model.
        states: Input of its head. (n, d)
        columns: Start and stop.
        max_bytes: Of float32 logits at a time.
        room: What an earlier call has put there may be overwritten.
    """
    start, stop = columns
    head, vocabulary = loaded.head, loaded.n_vocabulary
    if type(head) is nn.Linear:
        weight = head.weight[start:stop]
        z = torch.mm(states, weight.mT, out=room.take(len(states), len(weight), weight, max_bytes))
        if head.bias is not None:
            z += head.bias[start:stop]
    elif stop - start == vocabulary:
        z = head(states)
    else:  # a wrapped head has no columns of its own: take few positions instead
        few = max(1, max_bytes // (4 * vocabulary))
        z = torch.cat([head(some)[:, start:stop] for some in states.split(few)])
    return loaded.transform(z.float())


class NextTokens:
    """How likely a model finds tokens, each after what stands before it."""

    def __init__(self, loaded: LoadedModel, logits: Budget, room: Room) -> None:
        """Take the model as it is.

        Args:
            loaded: The model.
            logits: Bytes of float32 logits at a time; the logits of one position are the least.
            room: For the logits; its former content is overwritten.
        """
        self._loaded = loaded
        self._logits = logits
        self._room = room

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

    @torch.inference_mode()
    def _in_pieces(self, states: Tensor, tokens: Tensor) -> Tensor:
        few = max(1, self._logits.size // (4 * self._loaded.n_vocabulary))
        pieces = zip(states.split(few), tokens.split(few), strict=True)
        return torch.cat([self._piece(*piece) for piece in pieces])

    def _piece(self, states: Tensor, tokens: Tensor) -> Tensor:
        vocabulary = self._loaded.n_vocabulary
        logits = logits_of(
            self._loaded, states, (0, vocabulary), self._logits.size, self._room
        )  # (n, V)
        few = max(1, CACHED_LOGITS // vocabulary)
        parts = zip(logits.split(few), tokens[:, None].split(few), strict=True)
        return torch.cat([torch.log_softmax(a, dim=-1).gather(-1, b)[:, 0] for a, b in parts])
