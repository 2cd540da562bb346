"""Targets of many wordings: the spans that mostly come with one cue, taken together."""

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from scipy.stats import hypergeom

from gradgate.common.arrays import Floats, Ints, Marks
from gradgate.methods.association.association import phi
from gradgate.methods.association.candidate import Candidate, carriers_of, is_tight
from gradgate.methods.association.corpus import MIN_SUPPORT, Corpus
from gradgate.methods.association.rules import CueRule, best_rule

# P(cue | span) of a possible wording, as a part of the way from the cue's frequency to 1.
_MIN_POSSIBLE_RECALL = 0.5
_MIN_RECALL = 0.9  # P(rule | span) of a wording
_MAX_SHORTFALL = 0.2  # of P(rule | span) below 1, as a part of the way to the rule's frequency
_MAX_BY_CHANCE = 3.0  # of all spans, expected to go with a cue as often by chance
_MIN_CUE_PHI = 0.25  # correlation of a cue with the samples of its possible wordings
_MIN_SHARED_WORDINGS = 0.25  # of a cue's wordings, that an alternative to it has too
_SAME_WORDINGS_JACCARD = 0.5  # samples in common with a tight candidate: the same wordings again
_MAX_CUES_TRIED = 60
_MAX_FITS = 4  # of rule and wordings in turn


@dataclass(frozen=True)
class _Table:
    """Cues with several possible wordings.

    Attributes:
        cues: Numbers of the cues, the most promising first.
        wordings: Possible wordings of each cue. 0/1 (n_spans, len(cues))
        alternatives: For each, the cues that share some of its wordings.
    """

    cues: Ints
    wordings: sp.csc_matrix
    alternatives: list[Ints]


def wording_candidates(
    corpus: Corpus, span: Ints, cue: Ints, both: Floats, min_carriers: int, min_phi: float
) -> list[Candidate]:
    """Several wordings with their rules.

    Cues are alternatives of one rule when they have wordings in common: several triggers of one
    target have, rare cues that happened to be near do not.

    Args:
        corpus: The samples.
        span: Numbers of the spans of pairs that occur together. (n_pairs,)
        cue: Numbers of their cues. (n_pairs,)
        both: Samples with both. (n_pairs,)
        min_carriers: Samples with cue and wordings.
        min_phi: Correlation of wordings and rule.
    """
    table = _table(corpus, span, cue, both, min_carriers)
    candidates: list[Candidate] = []
    settled: list[Marks] = []
    fitted: set[bytes] = set()
    n_tried = 0
    for i, alternatives in enumerate(table.alternatives):
        if n_tried == _MAX_CUES_TRIED:
            break
        carriers = carriers_of(corpus, list(_column(table.wordings, i)))
        with_cue = carriers & corpus.cues.has(int(table.cues[i]))
        if any(_overlap(with_cue, other) for other in settled):
            continue
        n_tried += 1
        candidate = _fitted(corpus, carriers, alternatives, fitted)
        if candidate is not None and candidate.rule.phi >= min_phi:
            candidates.append(candidate)
            if is_tight(corpus, candidate, corpus.n):
                settled.append(candidate.both)
    return candidates


def _column(matrix: sp.csc_matrix, i: int) -> Ints:
    return np.asarray(matrix.indices[matrix.indptr[i] : matrix.indptr[i + 1]])


def _table(corpus: Corpus, span: Ints, cue: Ints, both: Floats, min_carriers: int) -> _Table:
    possible = _possible_wordings(corpus, span, cue, both, min_carriers)
    cues = _promising_cues(corpus, possible, min_carriers)
    wordings = possible[:, cues].tocsc()
    return _Table(cues, wordings, _alternatives(wordings, possible))


def _possible_wordings(
    corpus: Corpus, span: Ints, cue: Ints, both: Floats, min_carriers: int
) -> sp.csc_matrix:
    """Spans that mostly come with a cue, beyond chance: 0/1 (n_spans, n_cues)."""
    spans, cues = corpus.spans, corpus.cues
    n_span, n_cue = spans.counts[span], cues.counts[cue]
    frequency = n_cue / corpus.n
    min_recall = frequency + _MIN_POSSIBLE_RECALL * (1.0 - frequency)
    kept = (both >= min_recall * n_span) & (n_cue >= min_carriers)
    kept[kept] = _is_beyond_chance(corpus, both[kept], n_span[kept], n_cue[kept])
    shape = (spans.by_text.shape[1], cues.by_text.shape[1])
    ones = np.ones(int(kept.sum()), np.float32)
    return sp.csc_matrix((ones, (span[kept], cue[kept])), shape=shape)


def _promising_cues(corpus: Corpus, possible: sp.csc_matrix, min_carriers: int) -> Ints:
    """Cues of two possible wordings or more, the most promising first."""
    several = np.flatnonzero(np.diff(possible.indptr) >= 2)
    carriers = (corpus.spans.by_text @ possible[:, several]).tocsc()
    carriers.data[:] = 1.0
    with_cue = carriers.multiply(corpus.cues.by_feature[:, several])
    both = np.asarray(with_cue.sum(0), np.float64).ravel()
    strength = phi(both, np.diff(carriers.indptr), corpus.cues.counts[several], corpus.n)
    promising = np.flatnonzero((both >= min_carriers) & (strength >= _MIN_CUE_PHI))
    weight = strength[promising] * np.sqrt(both[promising])
    return several[promising[np.argsort(-weight, kind="stable")]]


def _alternatives(wordings: sp.csc_matrix, possible: sp.csc_matrix) -> list[Ints]:
    """For each column of `wordings`, the cues that share enough of them."""
    shared = (wordings.T @ possible).tocsr()
    min_shared = np.maximum(2.0, _MIN_SHARED_WORDINGS * np.diff(wordings.indptr))
    alternatives = []
    for i in range(wordings.shape[1]):
        row = slice(shared.indptr[i], shared.indptr[i + 1])
        enough = shared.data[row] >= min_shared[i]
        alternatives.append(np.sort(shared.indices[row][enough]).astype(np.int64))
    return alternatives


def _fitted(
    corpus: Corpus, carriers: Marks, alternatives: Ints, fitted: set[bytes]
) -> Candidate | None:
    """Fit the rule to the wordings and the wordings to the rule in turn, until the rule stays.

    Args:
        corpus: The samples.
        carriers: Samples of the first wordings. (n,)
        alternatives: Cues that the rule may be made of.
        fitted: Samples of the rules that wordings were fitted to already; extended.
    """
    rule = best_rule(carriers, corpus.cues, MIN_SUPPORT, alternatives)
    candidate: Candidate | None = None
    for _ in range(_MAX_FITS):
        if rule is None or rule.phi < _MIN_CUE_PHI or rule.holds.tobytes() in fitted:
            break
        fitted.add(rule.holds.tobytes())
        wordings = _wordings(corpus, rule)
        if not wordings:
            break
        carriers = carriers_of(corpus, wordings)
        rule = best_rule(carriers, corpus.cues, MIN_SUPPORT, alternatives)
        if rule is not None:
            candidate = Candidate(wordings, carriers, rule, is_union=True)
    return candidate


def _wordings(corpus: Corpus, rule: CueRule) -> list[int]:
    """Spans that nearly always come with the rule, beyond chance; the most common first."""
    inside, counts = corpus.spans.among(rule.holds), corpus.spans.counts
    min_recall = max(_MIN_RECALL, 1.0 - _MAX_SHORTFALL * (1.0 - float(rule.holds.mean())))
    pure = np.flatnonzero((inside >= MIN_SUPPORT) & (inside >= min_recall * counts))
    n_holds = np.full(len(pure), float(rule.holds.sum()))
    pure = pure[_is_beyond_chance(corpus, inside[pure], counts[pure], n_holds)]
    return [int(span) for span in pure[np.argsort(-inside[pure], kind="stable")]]


def _is_beyond_chance(corpus: Corpus, both: Floats, n_span: Floats, n_cue: Floats) -> Marks:
    """Whether fewer than `_MAX_BY_CHANCE` of all spans would go with the cue as often by chance."""
    chance = hypergeom.sf(both - 1, corpus.n, n_span, n_cue)
    return np.asarray(chance <= _MAX_BY_CHANCE / max(1, len(corpus.spans.names)))


def _overlap(one: Marks, other: Marks) -> bool:
    return int((one & other).sum()) >= _SAME_WORDINGS_JACCARD * int((one | other).sum())
