"""Tables of texts and features, 0 or 1: which text has which feature."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from gradgate.common.arrays import Floats, Ints, Marks
from gradgate.methods.recurrence.cues.lazy import Chained


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
    names: Sequence[str]

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
        return np.asarray(self.by_text[np.flatnonzero(texts)].sum(0), np.float64).ravel()


def incidence(matrix: sp.csr_matrix, names: Sequence[str]) -> Incidence:
    """Both views of a 0/1 matrix."""
    by_feature = matrix.tocsc()
    by_feature.sort_indices()
    return Incidence(matrix, by_feature, np.asarray(matrix.sum(0), np.float64).ravel(), names)


def joined(parts: Sequence[tuple[sp.csr_matrix, Sequence[str]]]) -> Incidence:
    """Features of the same texts side by side, with their names."""
    matrix = sp.hstack([part for part, _ in parts], format="csr", dtype=np.float32)
    return incidence(matrix, Chained([names for _, names in parts]))
