"""Tables of texts and features, 0 or 1: which text has which feature."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import overload

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


class Spelled(Sequence[str]):
    """The names of features, each made when it is asked for: there may be a million."""

    def __init__(self, keys: Ints, spell: Callable[[int], str]) -> None:
        """Take what the names are made of."""
        self._keys = keys
        self._spell = lru_cache(maxsize=65_536)(spell)

    def __len__(self) -> int:
        return len(self._keys)

    @overload
    def __getitem__(self, place: int) -> str: ...
    @overload
    def __getitem__(self, place: slice) -> list[str]: ...
    def __getitem__(self, place: int | slice) -> str | list[str]:
        if isinstance(place, slice):
            return [self._spell(int(key)) for key in self._keys[place]]
        return self._spell(int(self._keys[place]))


class _Joined(Sequence[str]):
    """Names behind names."""

    def __init__(self, parts: Sequence[Sequence[str]]) -> None:
        self._parts = parts
        self._ends = np.cumsum([len(part) for part in parts])

    def __len__(self) -> int:
        return int(self._ends[-1])

    @overload
    def __getitem__(self, place: int) -> str: ...
    @overload
    def __getitem__(self, place: slice) -> list[str]: ...
    def __getitem__(self, place: int | slice) -> str | list[str]:
        if isinstance(place, slice):
            return [self[i] for i in range(*place.indices(len(self)))]
        if not 0 <= place < len(self):
            raise IndexError(place)
        part = int(np.searchsorted(self._ends, place, side="right"))
        return self._parts[part][int(place) - int(self._ends[part])]


def incidence(matrix: sp.csr_matrix, names: Sequence[str]) -> Incidence:
    """Both views of a 0/1 matrix."""
    by_feature = matrix.tocsc()
    by_feature.sort_indices()
    return Incidence(matrix, by_feature, np.asarray(matrix.sum(0), np.float64).ravel(), names)


def joined(parts: Sequence[tuple[sp.csr_matrix, Sequence[str]]]) -> Incidence:
    """Features of the same texts side by side, with their names."""
    matrix = sp.hstack([part for part, _ in parts], format="csr", dtype=np.float32)
    return incidence(matrix, _Joined([names for _, names in parts]))
