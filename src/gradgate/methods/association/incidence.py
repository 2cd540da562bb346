"""Tables of texts and features, 0 or 1: which text has which feature."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from gradgate.common.arrays import Floats, Ints, Marks


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

    def has(self, feature: int) -> Marks:
        """Which texts have a feature: (n_texts,)."""
        found = np.zeros(self.by_text.shape[0], bool)
        found[self.texts_with(feature)] = True
        return found

    def among(self, texts: Marks) -> Floats:
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
    """Words of a gram; punctuation and frame are not counted."""
    return sum(word.isalnum() for word in name.split(" "))


def deduplicated(table: Incidence) -> Incidence:
    """One of the features that exactly the same texts have: that of the most words, the longest.

    Columns are compared by two 64-bit sums of random numbers of their texts.
    """
    matrix = table.by_feature
    n_texts, n_features = matrix.shape
    if not n_features:
        return table
    marks = np.random.default_rng(0).integers(0, 2**63, (n_texts, 2), dtype=np.uint64)
    sums = np.add.reduceat(marks[matrix.indices], matrix.indptr[:-1])  # (n_features, 2)
    words = np.array([n_words(name) + 0.01 * name.count(" ") for name in table.names])
    order = np.lexsort((np.arange(n_features), -words, sums[:, 1], sums[:, 0]))
    ordered = sums[order]
    first = np.ones(n_features, bool)
    first[1:] = (ordered[1:] != ordered[:-1]).any(axis=1)
    kept = np.sort(order[first])
    return incidence(table.by_text[:, kept].tocsr(), [table.names[i] for i in kept])
