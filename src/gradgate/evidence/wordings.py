"""Targets that have many wordings: all spans that mostly come with a cue, taken together."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
from scipy.stats import hypergeom

from gradgate.evidence.association import phi
from gradgate.evidence.corpus import FEWEST, Corpus
from gradgate.evidence.grams import Floats
from gradgate.evidence.match import Match, having, is_tight
from gradgate.evidence.rules import Marks, Rule, best_rule

Ints = npt.NDArray[np.int64]

_MOSTLY = 0.5  # of the way from a cue's frequency to 1: the span is perhaps one of its wordings
_NEARLY_ALL = 0.9
_BY_CHANCE = 3.0
_START = 0.25  # correlation of a cue with the spans that perhaps are its wordings
_SHARED = 0.25  # part of the wordings of a cue that an alternative to it has too
_ALIKE = 0.5  # part in common (Jaccard) with a tight union: the same wordings again
_TRIED = 60
_ROUNDS = 4


@dataclass(frozen=True)
class _Table:
    """Which spans are perhaps wordings that go with which cues.

    Attributes:
        cues: Numbers of the cues that have several, most promising first.
        wordings: Such spans of each cue. 0/1 (n_spans, len(cues))
        alternatives: For each, the cues that share some of its wordings.
    """

    cues: Ints
    wordings: sp.csc_matrix
    alternatives: list[Ints]


def unions(
    corpus: Corpus, span: Ints, cue: Ints, both: Floats, fewest: int, least: float
) -> list[Match]:
    """Several wordings with their rules.

    Cues are alternatives of one rule when they have wordings in common: so a rule holds what
    leads to the same targets, and not what is rare and happened to be near.

    Args:
        corpus: The samples.
        span: Numbers of the spans of pairs that occur together. (n_pairs,)
        cue: Numbers of their cues. (n_pairs,)
        both: Samples with both. (n_pairs,)
        fewest: Samples with cue and wordings.
        least: Correlation of wordings and rule.
    """
    table = _table(corpus, span, cue, both, fewest)
    found: list[Match] = []
    settled: list[Marks] = []
    refined: set[bytes] = set()
    tried = 0
    for i, alternatives in enumerate(table.alternatives):
        if tried == _TRIED:
            break
        carriers = having(corpus, list(_column(table.wordings, i)))
        with_cue = carriers & corpus.cues.has(int(table.cues[i]))
        if any(_are_alike(with_cue, other) for other in settled):
            continue
        tried += 1
        match = _refined(corpus, carriers, alternatives, refined)
        if match is not None and match.rule.phi >= least:
            found.append(match)
            if is_tight(corpus, match, corpus.n):
                settled.append(match.both)
    return found


def _column(matrix: sp.csc_matrix, i: int) -> Ints:
    return np.asarray(matrix.indices[matrix.indptr[i] : matrix.indptr[i + 1]])


def _table(corpus: Corpus, span: Ints, cue: Ints, both: Floats, fewest: int) -> _Table:
    spans, cues = corpus.spans, corpus.cues
    t, c = spans.counts[span], cues.counts[cue]
    usual = c / corpus.n
    wording = (both >= (usual + _MOSTLY * (1.0 - usual)) * t) & (c >= fewest)
    wording[wording] = _is_beyond_chance(corpus, both[wording], t[wording], c[wording])
    shape = (spans.by_text.shape[1], cues.by_text.shape[1])
    ones = np.ones(int(wording.sum()), np.float32)
    every = sp.csc_matrix((ones, (span[wording], cue[wording])), shape=shape)
    several = np.flatnonzero(np.diff(every.indptr) >= 2)
    carriers = (spans.by_text @ every[:, several]).tocsc()
    carriers.data[:] = 1.0
    both = np.asarray(carriers.multiply(cues.by_feature[:, several]).sum(0), np.float64).ravel()
    strength = phi(both, np.diff(carriers.indptr), cues.counts[several], corpus.n)
    worth = np.flatnonzero((both >= fewest) & (strength >= _START))
    worth = worth[np.argsort(-strength[worth] * np.sqrt(both[worth]), kind="stable")]
    chosen = several[worth]
    wordings = every[:, chosen].tocsc()
    shared = (wordings.T @ every).tocsr()
    least = np.maximum(2.0, _SHARED * np.diff(wordings.indptr))
    alternatives = []
    for i in range(len(chosen)):
        row = slice(shared.indptr[i], shared.indptr[i + 1])
        enough = shared.data[row] >= least[i]
        alternatives.append(np.sort(shared.indices[row][enough]).astype(np.int64))
    return _Table(chosen, wordings, alternatives)


def _refined(
    corpus: Corpus, carriers: Marks, alternatives: Ints, refined: set[bytes]
) -> Match | None:
    """The rule of several wordings, then the wordings of the rule, until the rule stays."""
    rule = best_rule(carriers, corpus.cues, FEWEST, alternatives)
    match: Match | None = None
    for _ in range(_ROUNDS):
        if rule is None or rule.phi < _START or rule.holds.tobytes() in refined:
            break
        refined.add(rule.holds.tobytes())
        wordings = _wordings(corpus, rule)
        if not wordings:
            break
        marks = having(corpus, wordings)
        rule = best_rule(marks, corpus.cues, FEWEST, alternatives)
        if rule is not None:
            match = Match(wordings, marks, rule, is_union=True)
    return match


def _wordings(corpus: Corpus, rule: Rule) -> list[int]:
    """Spans that nearly always come with the rule, and not by chance; the most common first."""
    inside, counts = corpus.spans.among(rule.holds), corpus.spans.counts
    purest = 1.0 - 0.2 * (1.0 - float(rule.holds.mean()))
    pure = np.flatnonzero((inside >= FEWEST) & (inside >= max(_NEARLY_ALL, purest) * counts))
    held = np.full(len(pure), float(rule.holds.sum()))
    pure = pure[_is_beyond_chance(corpus, inside[pure], counts[pure], held)]
    return [int(span) for span in pure[np.argsort(-inside[pure], kind="stable")]]


def _is_beyond_chance(corpus: Corpus, both: Floats, t: Floats, c: Floats) -> Marks:
    """Of all spans, only `_BY_CHANCE` are expected to go with a cue so often without a reason."""
    chance = hypergeom.sf(both - 1, corpus.n, t, c)
    return np.asarray(chance <= _BY_CHANCE / max(1, len(corpus.spans.names)))


def _are_alike(one: Marks, other: Marks) -> bool:
    return int((one & other).sum()) >= _ALIKE * int((one | other).sum())
