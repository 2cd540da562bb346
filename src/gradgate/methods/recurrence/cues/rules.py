"""Cue rules: any or all of some cues, so that the rule predicts the carriers of a span best."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from scipy.stats import hypergeom

from gradgate.common.arrays import Floats, Ints, Marks
from gradgate.methods.evidence import RuleKind
from gradgate.methods.recurrence.cues.incidence import Incidence
from gradgate.methods.recurrence.cues.tables import phi

MAX_CUES = 12  # alternatives of a rule, so that people can read it
_MAX_TRIED = 400  # cues of the highest correlation that a rule may be made of
_MAX_PAIRED = 60  # cues that most carriers have, tried in pairs
_MIN_PAIRED_RECALL = 0.8  # P(cue | span) of each cue of a pair
_MIN_NEW_CARRIERS = 0.02  # of all carriers, that a further alternative must bring
_MIN_GAIN = 0.003  # in correlation, for a further cue
_SUFFICIENT_PHI = 0.995  # correlation beyond which no pair is tried
_MAX_BY_CHANCE = 3.0  # of all cues, expected to bring as many carriers by chance


@dataclass(frozen=True)
class CueRule:
    """Any or all of some cues.

    Attributes:
        kind: Whether a prompt needs any or all of them.
        features: Numbers of the cues.
        holds: Samples whose prompt fulfils the rule. (n,)
        phi: Correlation of rule and span.
    """

    kind: RuleKind
    features: list[int]
    holds: Marks
    phi: float


def best_rule(
    span: Marks, cues: Incidence, min_support: int, among: Ints | None = None
) -> CueRule | None:
    """The rule of the highest correlation with the span; None when no cue goes with it.

    A list of alternatives is built greedily (each has `min_support` carriers, brings at least 2 %
    of them anew, and more of them than chance would), and compared with the best conjunction of
    two cues.

    Args:
        span: Which samples have the span. (n,)
        cues: Of the same samples.
        min_support: Carriers that a cue must have to be looked at.
        among: Cues that the rule may be made of; None for all.
    """
    both = cues.among(span)
    n_span = int(span.sum())
    tried = _tried(span, cues, both, min_support, among)
    if not tried.size:
        return None
    alternatives = _any_of(span, cues, tried)
    if alternatives.phi >= _SUFFICIENT_PHI:
        return alternatives
    common = tried[both[tried] >= _MIN_PAIRED_RECALL * n_span][:_MAX_PAIRED]
    conjunction = _all_of(span, cues, common)
    if conjunction is not None and conjunction.phi > alternatives.phi + _MIN_GAIN:
        return conjunction
    return alternatives


def _tried(
    span: Marks, cues: Incidence, both: Floats, min_support: int, among: Ints | None
) -> Ints:
    """Cues that go with the span, the best first; of equal ones the longest first."""
    supported = both >= min_support
    there = np.flatnonzero(supported) if among is None else among[supported[among]]
    strength = phi(both[there], int(span.sum()), cues.counts[there], len(span))
    rounded = strength.round(6)
    if len(there) > _MAX_TRIED:  # names are made for those alone that can be among the best
        last = np.partition(rounded, -_MAX_TRIED)[-_MAX_TRIED]
        among_best = rounded >= last
        there, strength = there[among_best], strength[among_best]
        rounded = rounded[among_best]
    n_spaces = np.array([cues.names[int(cue)].count(" ") for cue in there], np.int64)
    best = np.lexsort((-n_spaces, -rounded))[:_MAX_TRIED]
    return there[best][strength[best] > 0]


class _Alternatives:
    """Grows a list of alternative cues, and counts the carriers that each further cue would bring.

    Attributes:
        chosen: Cues of the rule so far.
        phi: Its correlation with the span.
    """

    def __init__(self, span: Marks, cues: Incidence, tried: Ints) -> None:
        columns = cues.by_feature[:, tried].tocsr()
        self.chosen: list[int] = []
        self.phi = 0.0
        self._n, self._n_span = len(span), int(span.sum())
        self._n_cues = len(cues.names)
        self._tried = tried
        self._inside, self._outside = columns[span], columns[~span]
        self._missing = np.ones(self._n_span, np.float32)  # carriers without a chosen cue
        self._free = np.ones(self._n - self._n_span, np.float32)  # others without one
        self._covered = self._held = 0.0  # carriers with a chosen cue, samples with one

    def extend(self) -> bool:
        """Add the best further cue; False when there is none."""
        new = np.asarray(self._missing @ self._inside, np.float64)  # carriers
        wrong = np.asarray(self._free @ self._outside, np.float64)  # others
        for j, gained in self._improving(new, wrong):
            if not self.chosen or self._is_beyond_chance(new[j], wrong[j]):
                self._add(j, new[j], wrong[j], gained)
                return True
        return False

    def _improving(self, new: Floats, wrong: Floats) -> Iterator[tuple[int, float]]:
        covered, held = self._covered + new, self._held + new + wrong
        gained = phi(covered, self._n_span, held, self._n)
        if self.chosen:
            gained[new < max(1.0, _MIN_NEW_CARRIERS * self._n_span)] = -1.0
        order = np.argsort(-gained, kind="stable")
        for j in order[gained[order] > self.phi + _MIN_GAIN]:
            yield int(j), float(gained[j])

    def _is_beyond_chance(self, new: float, wrong: float) -> bool:
        free, uncovered = self._n - self._held, self._n_span - self._covered
        chance = hypergeom.sf(new - 1, free, uncovered, new + wrong)
        return bool(chance <= _MAX_BY_CHANCE / self._n_cues)

    def _add(self, j: int, new: float, wrong: float, gained: float) -> None:
        self.phi = gained
        self._covered += new
        self._held += new + wrong
        self._missing *= 1.0 - self._inside[:, [j]].toarray().ravel()
        self._free *= 1.0 - self._outside[:, [j]].toarray().ravel()
        self.chosen.append(int(self._tried[j]))


def _any_of(span: Marks, cues: Incidence, tried: Ints) -> CueRule:
    rule = _Alternatives(span, cues, tried)
    while len(rule.chosen) < MAX_CUES and rule.extend():
        pass
    holds = np.zeros(len(span), bool)
    for feature in rule.chosen:
        holds |= cues.has(feature)
    return CueRule("any_of", rule.chosen, holds, rule.phi)


def _all_of(span: Marks, cues: Incidence, common: Ints) -> CueRule | None:
    if len(common) < 2:
        return None
    columns = cues.by_feature[:, common].tocsr()
    both = _counted_together(columns[span])
    strength = phi(both, int(span.sum()), _counted_together(columns), len(span))
    i, j = np.unravel_index(int(strength.argmax()), strength.shape)
    first, second = int(common[i]), int(common[j])
    holds = cues.has(first) & cues.has(second)
    return CueRule("all_of", [first, second], holds, float(strength[i, j]))


def _counted_together(columns: sp.csr_matrix) -> Floats:
    """How many samples have both of two columns: (n_columns, n_columns)."""
    return np.asarray((columns.T @ columns).toarray(), np.float64)
