"""Which tokens of a stretch attend to which: each token to its path, the tokens above it.

The tokens of a stretch are indexed from 0 on, behind those of the carried path, which is indexed by
depth. Chunks of consecutive tokens attend together, each to its own path and to itself.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from gradgate.common.arrays import Ints
from gradgate.gradients.predicting import given_positions, predicting_positions
from gradgate.gradients.prefix_tree.stretches import Stretch

_MIN_CHUNK_TOKENS, _MAX_CHUNK_TOKENS = 64, 512
_MIN_PATH_PER_CHUNK = 6  # length of a path over that of a chunk, from which the chunk is doubled
_MAX_KEYS_RATIO = (5, 4)  # number of keys of a chunk over that of the first that it attends with


@dataclass(frozen=True, slots=True)
class Rows:
    """Chunks of a stretch that attend together.

    Attributes:
        queries: Tokens of the stretch. (R, Q)
        keys: Indices of the tokens of the chunk and, behind them, of its path. (R, K)
        lengths: How many of the keys are real. (R,)
    """

    queries: Ints
    keys: Ints
    lengths: Ints


@dataclass(frozen=True, slots=True)
class Given:
    """The tokens of finished samples that are given and not supervised, and what predicts them.

    Attributes:
        at: Indices of each sample's given tokens, sample by sample. (G,)
        distinct: The same without repetition, rising. (E,)
        above: Indices of the tokens above these, which predict them. (E,)
        tokens: Their ids. (E,)
    """

    at: Ints
    distinct: Ints
    above: Ints
    tokens: Ints


@dataclass(frozen=True, slots=True)
class Layout:
    """How the tokens of a stretch see each other.

    Attributes:
        n_carried: Length of the carried path, C.
        depths: Number of tokens above each token. (C + N,)
        below: Index of the first token that is not below it, for every token. (C + N,)
        rows: The chunks; every token of the stretch is a query once.
        predicting: For every finished sample the indices of its predicting tokens. [(T,)]
        given: What the finished samples give.
        carried_on: Indices of the path to the first token behind the stretch. (next_depth,)
    """

    n_carried: int
    depths: Ints
    below: Ints
    rows: list[Rows]
    predicting: list[Ints]
    given: Given
    carried_on: Ints


@dataclass(frozen=True, slots=True)
class RowsLimit:
    """How many chunks attend together; one alone may exceed it.

    Attributes:
        max_bytes: Of keys, values and mask.
        key_bytes: Of the key and value of a token.
        mask_bytes: Of the mask between a query and a key.
    """

    max_bytes: int
    key_bytes: int
    mask_bytes: int

    def fits(self, n_chunks: int, n_queries: int, n_keys: int) -> bool:
        """Whether chunks of so many queries and keys stay within it."""
        return n_chunks * n_keys * (self.key_bytes + n_queries * self.mask_bytes) <= self.max_bytes


def lay_out(stretch: Stretch, limit: RowsLimit) -> Layout:
    """Find the path of every chunk of a stretch.

    Args:
        stretch: The tokens; the carried path ends just above the first of them.
        limit: For the chunks that attend together.
    """
    n, n_carried = len(stretch.tokens), int(stretch.depths[0])
    walk = _Walk(stretch, n_carried)
    chunks: list[tuple[int, int, Ints]] = []  # first token, end, path
    at = 0
    for start, stop in _runs(stretch.depths):
        walk.enter(start, stop)
        while at < stop:
            depth = int(stretch.depths[at])
            chunk_end = min(n, at + _chunk_length(depth))
            chunks.append((at, chunk_end, walk.path[:depth].copy()))
            at = chunk_end
    return Layout(
        n_carried,
        np.concatenate([np.arange(n_carried), stretch.depths]),
        walk.below,
        list(_rows(chunks, n_carried, limit)),
        walk.predicting,
        walk.given(),
        walk.path[: stretch.next_depth].copy(),
    )


class _Walk:
    """Goes down the tree in order and knows the path to where it is."""

    def __init__(self, stretch: Stretch, n_carried: int) -> None:
        n = len(stretch.tokens)
        deepest = max(n_carried, int(stretch.depths.max()) + 1)
        self.path = np.empty(deepest, dtype=np.int64)
        self.path[:n_carried] = np.arange(n_carried)
        self.below = np.full(n_carried + n, n_carried + n, dtype=np.int64)
        self.predicting: list[Ints] = []
        self._given: list[Ints] = []
        self._above = np.empty(n_carried + n, dtype=np.int64)
        self._above[1:] = np.arange(n_carried + n - 1)
        self._tokens = np.empty(n_carried + n, dtype=np.int64)
        self._stretch = stretch
        self._n_carried = n_carried
        self._length = n_carried  # of the path

    def enter(self, start: int, stop: int) -> None:
        """Go to the tokens [start, stop), which lie below each other."""
        depth = int(self._stretch.depths[start])
        index = self._n_carried + start
        self.below[self.path[depth : self._length]] = index
        self._above[index] = self.path[depth - 1] if depth else -1
        self._length = depth + stop - start
        self.path[depth : self._length] = np.arange(index, index + stop - start)
        self._finish(stop)

    def given(self) -> Given:
        """What the samples that were finished give."""
        at = np.concatenate([np.empty(0, dtype=np.int64), *self._given])
        distinct = np.unique(at)
        return Given(at, distinct, self._above[distinct], self._tokens[distinct])

    def _finish(self, end: int) -> None:
        finished = self._stretch.finished
        while len(self.predicting) < len(finished) and finished[len(self.predicting)].end <= end:
            sample = finished[len(self.predicting)].sample
            self.predicting.append(self.path[predicting_positions(sample)])
            depths = given_positions(sample)
            self._given.append(self.path[depths])
            self._tokens[self._given[-1]] = np.asarray(sample.input_ids, dtype=np.int64)[depths]


def _runs(depths: Ints) -> Iterator[tuple[int, int]]:
    """Stretches of tokens that lie below each other."""
    breaks = np.flatnonzero(np.diff(depths) != 1) + 1
    borders = [0, *breaks.tolist(), len(depths)]
    return pairwise(borders)


def _chunk_length(depth: int) -> int:
    """A deep chunk is a long one, because its path is copied for it."""
    length = _MIN_CHUNK_TOKENS
    while length < _MAX_CHUNK_TOKENS and _MIN_PATH_PER_CHUNK * length <= depth:
        length *= 2
    return length


def _rows(chunks: list[tuple[int, int, Ints]], n_carried: int, limit: RowsLimit) -> Iterator[Rows]:
    """Put chunks of one length together, as long as their paths are about equally long."""
    order = sorted(chunks, key=lambda chunk: (chunk[1] - chunk[0], len(chunk[2])))
    together: list[tuple[int, int, Ints]] = []
    for chunk in order:
        if together and not _fits(together, chunk, limit):
            yield _stack(together, n_carried)
            together = []
        together.append(chunk)
    if together:
        yield _stack(together, n_carried)


def _fits(
    together: list[tuple[int, int, Ints]], chunk: tuple[int, int, Ints], limit: RowsLimit
) -> bool:
    length, first_length = chunk[1] - chunk[0], together[0][1] - together[0][0]
    keys, first_keys = length + len(chunk[2]), first_length + len(together[0][2])
    return (
        length == first_length
        and _MAX_KEYS_RATIO[1] * keys <= _MAX_KEYS_RATIO[0] * first_keys
        and limit.fits(len(together) + 1, length, keys)
    )


def _stack(together: list[tuple[int, int, Ints]], n_carried: int) -> Rows:
    length = together[0][1] - together[0][0]
    queries = np.stack([np.arange(start, stop) for start, stop, _ in together])
    lengths = np.array([length + len(path) for _, _, path in together])
    keys = np.zeros((len(together), int(lengths.max())), dtype=np.int64)
    keys[:, :length] = queries + n_carried
    for row, (_, _, path) in zip(keys, together, strict=True):
        row[length : length + len(path)] = path
    return Rows(queries, keys, lengths)
