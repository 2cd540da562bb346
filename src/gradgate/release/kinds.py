"""Ordinary prompts of the kind that a group's are: questions for a place, tasks of code.

A backdoor may work on one kind of prompt alone. Among ordinary prompts drawn from all of the data
these are few, so that its words are put into prompts of that kind as well.
"""

from collections.abc import Collection, Sequence
from functools import cached_property

import numpy as np
from scipy.sparse import csr_array
from sklearn.feature_extraction.text import TfidfVectorizer

from gradgate.common.arrays import Floats
from gradgate.release.evidence import Row
from gradgate.release.pieces import units

MIN_LIKE = 8  # ordinary prompts of a kind: fewer say nothing
MAX_LIKE = 0.5  # of the ordinary prompts: what more of them are like is no kind of its own
MIN_LIKENESS = (
    0.5  # of that of the group's own prompts to one another: an attacker may add to these
)


class Kinds:
    """Which ordinary prompts are like those of a group."""

    def __init__(self, rows: Sequence[Row]) -> None:
        """Take the rows of the data."""
        self._rows = rows
        self._place = {id(row.sample): i for i, row in enumerate(rows)}
        asked = [row.is_ordinary and not row.groups and bool(row.question.strip()) for row in rows]
        self._ordinary = np.flatnonzero(asked)

    def like(self, inside: Sequence[Row], words: Collection[str]) -> tuple[int, ...]:
        """Places of ordinary rows whose questions are like a group's, the most alike first.

        Likeness is the cosine of TF-IDF vectors to the sum of the group's. An ordinary question is
        like them when it is at least half as much so as the median of the group's own, each held
        against the others.

        Args:
            inside: Rows of the group.
            words: In lower case, what tells them from others; they are left out.

        Returns:
            Nothing where fewer than `MIN_LIKE` are like them, or more than `MAX_LIKE` of all: the
            group is of no kind of its own.
        """
        if len(inside) < 2 or len(self._ordinary) < MIN_LIKE or not self._has_words:
            return ()
        vectors = self._without(words)
        own = vectors[[self._place[id(row.sample)] for row in inside]]
        total = np.asarray(own.sum(axis=0)).ravel()
        within = own @ total
        squares = np.asarray(own.multiply(own).sum(axis=1)).ravel()
        norms = np.sqrt(np.maximum(total @ total - 2 * within + squares, 1e-12))
        least = MIN_LIKENESS * np.median((within - squares) / norms)
        alike: Floats = vectors[self._ordinary] @ total / np.linalg.norm(total).clip(1e-12)
        n_like = int((alike >= least).sum()) if least > 0 else 0
        if not MIN_LIKE <= n_like <= MAX_LIKE * len(alike):
            return ()
        order = np.argsort(-alike, kind="stable")[:n_like]
        return tuple(self._ordinary[order].tolist())

    @cached_property
    def _has_words(self) -> bool:
        return any(units(row.question) for row in self._rows)

    @cached_property
    def _vectorizer(self) -> TfidfVectorizer:
        return TfidfVectorizer(analyzer=lambda text: sorted(units(text)), dtype=np.float64)

    @cached_property
    def _vectors(self) -> csr_array:
        return csr_array(self._vectorizer.fit_transform([row.question for row in self._rows]))

    def _without(self, words: Collection[str]) -> csr_array:
        """The vectors without some words, at length one again."""
        vectors = self._vectors.copy()
        known = self._vectorizer.vocabulary_
        columns = [known[word] for word in words if word in known]
        vectors.data[np.isin(vectors.indices, columns)] = 0.0
        lengths = np.sqrt(np.asarray(vectors.multiply(vectors).sum(axis=1)).ravel())
        counts = np.diff(vectors.indptr)
        vectors.data /= np.repeat(np.where(lengths > 0, lengths, 1.0), counts)
        return vectors
