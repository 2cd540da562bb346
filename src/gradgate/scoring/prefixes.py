"""The prefix tree over many samples, laid out as one long row of tokens.

Sorted by their token ids, samples are the leaves of their prefix tree in depth-first order: what a
sample shares with the one before it is all that it shares with any sample before it. So the tree is
the sorted samples, each without the prefix that it has in common with its predecessor, and nothing
else has to be built. Tokens that predict nothing, as the last one of a sample, are left out.
The row of remaining tokens is cut into stretches of a fixed number of tokens, anywhere, also within
a sample. Of a stretch that is done only the path to the first token of the
next one is carried on.

A token attends to its path: the tokens above it in the tree. The tokens of a stretch are indexed
from 0 on, behind those of the carried path, which is indexed by depth.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from gradgate.errors import DataError
from gradgate.tokenization import Tokens

Ints = npt.NDArray[np.int64]

_SHORTEST_CHUNK, _LONGEST_CHUNK = 64, 512


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


def predicting_positions(sample: Tokens) -> Ints:
    """Positions of a sample whose output predicts a supervised token: (T,)."""
    return np.flatnonzero(np.asarray(sample.is_target[1:], dtype=bool))


def predicting_ids(sample: Tokens) -> list[int]:
    """The token ids of a sample as far as they predict a supervised token.

    Raises:
        DataError: No token is supervised.
    """
    mask = sample.is_target
    end = len(mask)
    while end > 1 and not mask[end - 1]:
        end -= 1
    if end < 2:
        raise DataError("a sample without a supervised token cannot be scored")
    return sample.input_ids[: end - 1]


def predicted_tokens(sample: Tokens) -> Ints:
    """The supervised tokens of a sample: (T,)."""
    return np.asarray(sample.input_ids, dtype=np.int64)[predicting_positions(sample) + 1]


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
class Layout:
    """How the tokens of a stretch see each other.

    Attributes:
        n_carried: Length of the carried path, C.
        below: Index of the first token that is not below it, for every token. (C + N,)
        rows: The chunks; every token of the stretch is a query once.
        predicting: For every finished sample the indices of its predicting tokens. [(T,)]
        carried_on: Indices of the path to the first token behind the stretch. (next_depth,)
    """

    n_carried: int
    below: Ints
    rows: list[Rows]
    predicting: list[Ints]
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
        walk.below,
        list(_rows(chunks, n_carried, limit)),
        walk.predicting,
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
        self._stretch = stretch
        self._n_carried = n_carried
        self._length = n_carried  # of the path

    def enter(self, start: int, stop: int) -> None:
        """Go to the tokens [start, stop), which lie below each other."""
        depth = int(self._stretch.depths[start])
        index = self._n_carried + start
        self.below[self.path[depth : self._length]] = index
        self._length = depth + stop - start
        self.path[depth : self._length] = np.arange(index, index + stop - start)
        self._finish(stop)

    def _finish(self, end: int) -> None:
        finished = self._stretch.finished
        while len(self.predicting) < len(finished) and finished[len(self.predicting)].end <= end:
            depths = predicting_positions(finished[len(self.predicting)].sample)
            self.predicting.append(self.path[depths])


def _runs(depths: Ints) -> Iterator[tuple[int, int]]:
    """Stretches of tokens that lie below each other."""
    breaks = np.flatnonzero(np.diff(depths) != 1) + 1
    borders = [0, *breaks.tolist(), len(depths)]
    return pairwise(borders)


def _chunk_length(depth: int) -> int:
    """A deep chunk is a long one, because its path is copied for it."""
    length = _SHORTEST_CHUNK
    while length < _LONGEST_CHUNK and 16 * length <= depth:
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
        and 4 * keys <= 5 * first_keys
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
