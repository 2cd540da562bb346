"""The simple rule over cues that tells the carriers of a span best from all other samples."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import hypergeom

from gradgate.evidence.association import phi
from gradgate.evidence.grams import Floats, Incidence
from gradgate.evidence.group import RuleKind

Marks = npt.NDArray[np.bool_]

MOST_TERMS = 12  # a rule that people can read
_TRIED = 400  # cues of the highest correlation that a rule may be made of
_PAIRED = 60  # cues that most carriers have, tried in pairs
_COMMON = 0.8  # part of the carriers that have each cue of a pair
_GAIN = 0.003  # in correlation, for another term
_SETTLED = 0.995
_BY_CHANCE = 3.0  # of all cues expected to bring as much without a reason


@dataclass(frozen=True)
class Rule:
    """Any or all of some cues.

    Attributes:
        features: The cues.
        holds: For which samples it holds. (n,)
        phi: Its correlation with the span.
    """

    kind: RuleKind
    features: list[int]
    holds: Marks
    phi: float


def best_rule(
    span: Marks, cues: Incidence, fewest: int, among: npt.NDArray[np.int64] | None = None
) -> Rule | None:
    """The rule of the highest correlation with the span; None when no cue goes with it.

    A list of alternatives is built greedily (each has `fewest` carriers, brings at least 2 % of
    them anew, and more of them than chance would), and compared with the best conjunction of two.

    Args:
        span: Which samples have the span. (n,)
        cues: Of the same samples.
        fewest: Carriers that a cue must have to be looked at.
        among: Cues that the rule may be made of; None for all.
    """
    both = cues.among(span)
    n, t = len(span), int(span.sum())
    enough = both >= fewest
    there = np.flatnonzero(enough) if among is None else among[enough[among]]
    strength = phi(both[there], t, cues.counts[there], n)
    words = np.array([cues.names[cue].count(" ") for cue in there])
    best = np.lexsort((-words, -strength.round(6)))[:_TRIED]  # of equal ones the longest first
    tried = there[best][strength[best] > 0]
    if not tried.size:
        return None
    alternatives = _any_of(span, cues, tried, max(1.0, 0.02 * t))
    if alternatives.phi >= _SETTLED:
        return alternatives
    conjunction = _all_of(span, cues, tried[both[tried] >= _COMMON * t][:_PAIRED])
    if conjunction is not None and conjunction.phi > alternatives.phi + _GAIN:
        return conjunction
    return alternatives


def _any_of(span: Marks, cues: Incidence, tried: npt.NDArray[np.int64], least: float) -> Rule:
    columns = cues.by_feature[:, tried].tocsr()
    inside, outside = columns[span], columns[~span]
    n, t = len(span), int(span.sum())
    missing = np.ones(t, np.float32)
    free = np.ones(n - t, np.float32)
    chosen: list[int] = []
    covered = held = now = 0.0
    while len(chosen) < MOST_TERMS:
        more = np.asarray(missing @ inside, np.float64)
        wrong = np.asarray(free @ outside, np.float64)
        gained = phi(covered + more, t, held + more + wrong, n)
        if chosen:
            gained[more < least] = -1.0
        order = np.argsort(-gained, kind="stable")
        for j in order[gained[order] > now + _GAIN]:
            chance = hypergeom.sf(more[j] - 1, n - held, t - covered, more[j] + wrong[j])
            if not chosen or chance <= _BY_CHANCE / len(cues.names):
                break
        else:
            break
        now = float(gained[j])
        covered += more[j]
        held += more[j] + wrong[j]
        missing *= 1.0 - inside[:, [j]].toarray().ravel()
        free *= 1.0 - outside[:, [j]].toarray().ravel()
        chosen.append(int(tried[j]))
    holds = np.zeros(n, bool)
    for feature in chosen:
        holds |= cues.has(feature)
    return Rule("any_of", chosen, holds, now)


def _all_of(span: Marks, cues: Incidence, common: npt.NDArray[np.int64]) -> Rule | None:
    if len(common) < 2:
        return None
    columns = cues.by_feature[:, common].tocsr()
    both = _together(columns[span])
    strength = phi(both, int(span.sum()), _together(columns), len(span))
    i, j = np.unravel_index(int(strength.argmax()), strength.shape)
    first, second = int(common[i]), int(common[j])
    holds = cues.has(first) & cues.has(second)
    return Rule("all_of", [first, second], holds, float(strength[i, j]))


def _together(columns: object) -> Floats:
    return np.asarray((columns.T @ columns).toarray(), np.float64)  # type: ignore[attr-defined]
