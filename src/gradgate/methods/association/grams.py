"""N-grams of words: which of them occur in which texts."""

from collections.abc import Sequence

import numpy as np
import scipy.sparse as sp

from gradgate.common.arrays import Ints
from gradgate.methods.association.incidence import Incidence, incidence, joined
from gradgate.methods.association.words import BREAK, END, START, Texts


def grams(texts: Texts, orders: Sequence[int], min_support: int, max_support: float) -> Incidence:
    """N-grams that `min_support` to `max_support` texts have; frame or line break alone are none.

    Args:
        texts: Word numbers; a gram never reaches beyond a text.
        orders: Lengths in words, of 1, 2, 3 and 5.
        min_support: Texts.
        max_support: Texts.
    """
    codes = _Codes(texts, min_support)
    return joined([_of_order(texts, codes, order, min_support, max_support) for order in orders])


def gram_numbers(texts: Texts, order: int, min_support: int) -> Ints:
    """The number of the n-gram that begins at each word: (n_words,); -1 at the end of a text.

    Grams that occur fewer than `min_support` times have -1 too.
    """
    return _Codes(texts, min_support).of(order)


class _Codes:
    """The number of the n-gram that begins at each word, by order; -1 where it is rare."""

    def __init__(self, texts: Texts, min_support: int) -> None:
        self.texts = texts
        self.numbers = texts.text_numbers()
        self.min_support = min_support
        self._by_order = {1: self._frequent(texts.ids)}

    def of(self, order: int) -> Ints:
        if order not in self._by_order:
            first = order - 1 if order <= 3 else order - 3  # 5 = 2 + 3
            head, tail = self.of(first), self.of(order - first)[first:]
            size = len(tail)
            pairs = np.full(len(head), -1, np.int64)
            inside = self.numbers[first : first + size] == self.numbers[:size]
            last = np.arange(size) + order - 1
            inside &= (last < len(head)) & (
                self.numbers[np.minimum(last, len(head) - 1)] == self.numbers[:size]
            )
            there = inside & (head[:size] >= 0) & (tail >= 0)
            width = max(1, int(tail.max(initial=0)) + 1)
            pairs[:size][there] = head[:size][there] * width + tail[there]
            self._by_order[order] = self._frequent(pairs)
        return self._by_order[order]

    def _frequent(self, codes: Ints) -> Ints:
        """Renumber the grams that occur often enough to be in `min_support` texts."""
        values, where, counts = np.unique(codes, return_inverse=True, return_counts=True)
        kept = (counts >= self.min_support) & (values >= 0)
        numbers = np.where(kept, kept.cumsum() - 1, -1)
        return np.asarray(numbers[where.ravel()], np.int64)


def _of_order(
    texts: Texts, codes: _Codes, order: int, min_support: int, max_support: float
) -> Incidence:
    grams_at = codes.of(order)
    if order == 1:
        marks = [i for i, word in enumerate(texts.vocabulary) if word in (START, END, BREAK)]
        grams_at = np.where(np.isin(texts.ids, marks), -1, grams_at)
    at = np.flatnonzero(grams_at >= 0)
    n_grams = int(grams_at.max(initial=-1)) + 1
    pairs = np.unique(codes.numbers[at] * max(1, n_grams) + grams_at[at])
    rows, columns = np.divmod(pairs, max(1, n_grams))
    counts = np.bincount(columns, minlength=n_grams)
    kept = (counts >= min_support) & (counts <= max_support)
    first = np.zeros(n_grams, np.int64)
    first[grams_at[at][::-1]] = at[::-1]  # where each gram is seen first
    new = np.where(kept, kept.cumsum() - 1, -1)
    there = kept[columns]
    matrix = sp.csr_matrix(
        (np.ones(int(there.sum()), np.float32), (rows[there], new[columns[there]])),
        shape=(texts.n, int(kept.sum())),
    )
    words = texts.vocabulary
    names = [" ".join(words[w] for w in texts.ids[i : i + order]) for i in first[kept]]
    return incidence(matrix, names)
