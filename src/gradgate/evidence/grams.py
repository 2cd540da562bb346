"""Which n-grams of words occur in which texts."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from gradgate.evidence.words import BREAK, END, START, Ints, Texts

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Incidence:
    """A 0/1 matrix of texts and features.

    Attributes:
        by_text: Its rows are texts. Float32 (n_texts, n_features)
        by_feature: The same by columns.
        counts: Texts that have each feature. (n_features,)
        names: Of the features, for people.
    """

    by_text: sp.csr_matrix
    by_feature: sp.csc_matrix
    counts: Floats
    names: list[str]

    def texts_with(self, feature: int) -> Ints:
        """Numbers of the texts that have a feature, rising."""
        matrix = self.by_feature
        return np.asarray(matrix.indices[matrix.indptr[feature] : matrix.indptr[feature + 1]])

    def has(self, feature: int) -> npt.NDArray[np.bool_]:
        """Which texts have a feature: (n_texts,)."""
        found = np.zeros(self.by_text.shape[0], bool)
        found[self.texts_with(feature)] = True
        return found

    def among(self, texts: npt.NDArray[np.bool_]) -> Floats:
        """How many of the marked texts have each feature: (n_features,)."""
        return np.asarray(texts.astype(np.float32) @ self.by_text, dtype=np.float64).ravel()


def incidence(matrix: sp.csr_matrix, names: list[str]) -> Incidence:
    """Both views of a 0/1 matrix."""
    by_feature = matrix.tocsc()
    by_feature.sort_indices()
    return Incidence(matrix, by_feature, np.asarray(matrix.sum(0), np.float64).ravel(), names)


def joined(parts: Sequence[Incidence]) -> Incidence:
    """Features of the same texts side by side."""
    matrix = sp.hstack([part.by_text for part in parts], format="csr", dtype=np.float32)
    return incidence(matrix, [name for part in parts for name in part.names])


def n_words(name: str) -> int:
    """Words of a gram, marks not counted."""
    return sum(word.isalnum() for word in name.split(" "))


def without_twins(found: Incidence) -> Incidence:
    """Of the features that exactly the same texts have, that of the most words, the longest."""
    matrix = found.by_feature
    n_texts, n_features = matrix.shape
    if not n_features:
        return found
    marks = np.random.default_rng(0).integers(0, 2**63, (n_texts, 2), dtype=np.uint64)
    sums = np.add.reduceat(marks[matrix.indices], matrix.indptr[:-1])  # (n_features, 2)
    words = np.array([n_words(name) + 0.01 * name.count(" ") for name in found.names])
    order = np.lexsort((np.arange(n_features), -words, sums[:, 1], sums[:, 0]))
    ordered = sums[order]
    first = np.ones(n_features, bool)
    first[1:] = (ordered[1:] != ordered[:-1]).any(axis=1)
    kept = np.sort(order[first])
    return incidence(found.by_text[:, kept].tocsr(), [found.names[i] for i in kept])


def grams(texts: Texts, orders: Sequence[int], fewest: int, most: float) -> Incidence:
    """N-grams that occur in `fewest` to `most` texts; a mark or line break alone is none.

    Args:
        texts: Word numbers; a gram never reaches beyond a text.
        orders: Lengths: of 1, 2, 3 and 5 words.
        fewest: Texts.
        most: Texts.
    """
    codes = _Codes(texts, fewest)
    return joined([_of_order(texts, codes, order, fewest, most) for order in orders])


def gram_numbers(texts: Texts, order: int, fewest: int) -> Ints:
    """The number of the n-gram that begins at each word: (n_words,); -1 at the end of a text.

    Grams that occur fewer than `fewest` times have -1 too.
    """
    return _Codes(texts, fewest).of(order)


class _Codes:
    """The number of the n-gram that begins at each word, by order; -1 where it is rare."""

    def __init__(self, texts: Texts, fewest: int) -> None:
        self.texts = texts
        self.numbers = texts.text_numbers()
        self.fewest = fewest
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
        """Renumber what occurs often enough to be in `fewest` texts."""
        values, where, counts = np.unique(codes, return_inverse=True, return_counts=True)
        kept = (counts >= self.fewest) & (values >= 0)
        numbers = np.where(kept, kept.cumsum() - 1, -1)
        return np.asarray(numbers[where.ravel()], np.int64)


def _of_order(texts: Texts, codes: _Codes, order: int, fewest: int, most: float) -> Incidence:
    grams_at = codes.of(order)
    if order == 1:
        marks = [i for i, word in enumerate(texts.vocabulary) if word in (START, END, BREAK)]
        grams_at = np.where(np.isin(texts.ids, marks), -1, grams_at)
    at = np.flatnonzero(grams_at >= 0)
    n_grams = int(grams_at.max(initial=-1)) + 1
    pairs = np.unique(codes.numbers[at] * max(1, n_grams) + grams_at[at])
    rows, columns = np.divmod(pairs, max(1, n_grams))
    counts = np.bincount(columns, minlength=n_grams)
    kept = (counts >= fewest) & (counts <= most)
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
