"""Strings of one to four tokens, sought in the prompts of further samples."""

from collections.abc import Sequence

import numpy as np
import scipy.sparse as sp

from gradgate.common.arrays import Ints, Marks
from gradgate.methods.recurrence.strings.packed import found_at, packed
from gradgate.methods.recurrence.strings.stream import Stream

Gram = tuple[int, ...]
_MAX_PACKED = 3  # tokens that fit into one number


def has_gram(stream: Stream, ids: Sequence[int]) -> Marks:
    """Which samples have some tokens behind one another: (n,)."""
    return np.asarray(n_of_gram(stream, ids) > 0)


def n_of_gram(stream: Stream, ids: Sequence[int]) -> Ints:
    """How often samples have some tokens behind one another: (n,)."""
    starts = np.flatnonzero(stream.ids == ids[0])
    for place, token in enumerate(ids[1:], start=1):
        starts = starts[starts + place < stream.n]
        goes_on = (stream.ids[starts + place] == token) & ~stream.begins[starts + place]
        starts = starts[goes_on]
    return np.bincount(stream.sample[starts], minlength=stream.n_samples)


class Sought:
    """Grams that are looked for; each keeps its number in the order given."""

    def __init__(self, grams: Sequence[Gram]) -> None:
        """Take the grams, none of which stands there twice."""
        self.n = len(grams)
        lengths = np.array([len(gram) for gram in grams], np.int64)
        self._of_length = []
        for length in np.unique(lengths).tolist():
            numbers = np.flatnonzero(lengths == length)
            ids = np.array([grams[i] for i in numbers.tolist()], np.int64)
            self._of_length.append(_OfLength(ids, numbers))

    def among(self, prompts: Stream, judged: Marks) -> sp.csr_matrix:
        """Which samples have which gram, 0 or 1: (n_samples, n).

        Args:
            prompts: N tokens of the samples.
            judged: Tokens that may belong to a gram. (N,)
        """
        samples, numbers = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
        starts = np.flatnonzero(judged)
        lengths = {one.length: one for one in self._of_length}
        for length in range(1, max(lengths, default=0) + 1):
            if length > 1:
                last = starts + length - 1
                starts, last = starts[last < prompts.n], last[last < prompts.n]
                starts = starts[judged[last] & ~prompts.begins[last]]
            if length in lengths:
                hits, which = lengths[length].at(prompts, starts)
                samples.append(prompts.sample[hits])
                numbers.append(which)
        rows, columns = np.concatenate(samples), np.concatenate(numbers)
        shape = (prompts.n_samples, self.n)
        table = sp.csr_matrix((np.ones(len(rows), np.float32), (rows, columns)), shape=shape)
        table.data[:] = 1.0  # a sample may have a gram twice
        return table


class _OfLength:
    """Grams of one length."""

    def __init__(self, ids: Ints, numbers: Ints) -> None:
        self.length = ids.shape[1]
        self._heads, head = np.unique(packed(ids[:, :_MAX_PACKED]), return_inverse=True)
        self._keys = self._keyed(head, ids)
        order = np.argsort(self._keys)
        self._keys, self._numbers = self._keys[order], numbers[order]

    def _keyed(self, head: Ints, ids: Ints) -> Ints:
        """A number for each gram: that of its first three tokens, and of a fourth."""
        rest = ids[:, _MAX_PACKED:]
        return head if not rest.shape[1] else packed(np.concatenate([head[:, None], rest], 1))

    def at(self, prompts: Stream, starts: Ints) -> tuple[Ints, Ints]:
        """Of some places those where a gram begins, and which."""
        ids = prompts.ids[starts[:, None] + np.arange(self.length)]
        head = found_at(packed(ids[:, :_MAX_PACKED]), self._heads)
        inside = head >= 0
        at = found_at(self._keyed(head[inside], ids[inside]), self._keys)
        return starts[inside][at >= 0], self._numbers[at[at >= 0]]
