"""The prefix tree over many samples as one long row of tokens, cut into stretches.

Sorted by their token ids, samples are the leaves of their prefix tree in depth-first order: the
prefix that a sample shares with the one before it is the longest that it shares with any sample
before it. So the tree is the sorted samples, each without the prefix that it has in common with its
predecessor, and nothing else has to be built. Tokens that predict nothing, as the last one of a
sample, are left out.

The row of remaining tokens is cut into stretches of a fixed number of tokens, anywhere, also within
a sample. When a stretch is done, only the path to the first token of the next one is carried on.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from gradgate.common.arrays import Ints
from gradgate.data.tokens import Tokens
from gradgate.gradients.predicting import predicting_ids


@dataclass(frozen=True, slots=True)
class Finished:
    """A sample that ends in a stretch, behind `end` of the stretch's tokens."""

    sample: Tokens
    end: int


@dataclass(frozen=True, slots=True)
class Stretch:
    """Consecutive tokens of the tree.

    Attributes:
        tokens: (N,)
        depths: Number of tokens above each token, which is its position in the sample. (N,)
        finished: Samples that end here, in their order.
        next_depth: Depth of the first token behind the stretch: so long is the carried path.
    """

    tokens: Ints
    depths: Ints
    finished: list[Finished]
    next_depth: int

    def halves(self) -> tuple["Stretch", "Stretch"]:
        """The same work in two stretches; this one must have two tokens at least."""
        middle = len(self.tokens) // 2
        return self._slice(0, middle), self._slice(middle, len(self.tokens))

    def _slice(self, start: int, stop: int) -> "Stretch":
        last = stop == len(self.tokens)
        finished = [
            Finished(done.sample, done.end - start)
            for done in self.finished
            if start < done.end <= stop
        ]
        next_depth = self.next_depth if last else int(self.depths[stop])
        return Stretch(self.tokens[start:stop], self.depths[start:stop], finished, next_depth)


def stretches(samples: Iterable[Tokens], n_tokens: int) -> Iterator[Stretch]:
    """Cut the tree over `samples` into stretches of `n_tokens` tokens, the last one shorter.

    Args:
        samples: In the order of their token ids.
        n_tokens: At least 1.
    """
    cutter = _Cutter(n_tokens)
    path = np.empty(0, dtype=np.int64)
    for sample in samples:
        ids = np.asarray(predicting_ids(sample), dtype=np.int64)
        shared = shared_length(path, ids)
        if shared < len(ids):  # else it ends on the path, which may go on for the next sample
            yield from cutter.add(ids[shared:], shared)
            path = ids
        cutter.finish(sample)
    yield from cutter.rest()


class _Cutter:
    """Collects tokens, and hands out a stretch as soon as the token behind it is known."""

    def __init__(self, n_tokens: int) -> None:
        self._n_tokens = n_tokens
        self._tokens: list[Ints] = []
        self._depths: list[Ints] = []
        self._finished: list[Finished] = []
        self._size = 0

    def add(self, tokens: Ints, depth: int) -> Iterator[Stretch]:
        while len(tokens):
            if self._size == self._n_tokens:
                yield self._take(depth)
            piece = tokens[: self._n_tokens - self._size]
            self._tokens.append(piece)
            self._depths.append(np.arange(depth, depth + len(piece)))
            self._size += len(piece)
            depth += len(piece)
            tokens = tokens[len(piece) :]

    def finish(self, sample: Tokens) -> None:
        self._finished.append(Finished(sample, self._size))

    def rest(self) -> Iterator[Stretch]:
        if self._size:
            yield self._take(0)

    def _take(self, next_depth: int) -> Stretch:
        stretch = Stretch(
            np.concatenate(self._tokens), np.concatenate(self._depths), self._finished, next_depth
        )
        self._tokens, self._depths, self._finished, self._size = [], [], [], 0
        return stretch


def shared_length(one: Ints, other: Ints) -> int:
    """Length of the common prefix."""
    n = min(len(one), len(other))
    differs = one[:n] != other[:n]
    first = int(differs.argmax()) if n else 0
    return first if n and differs[first] else n
