"""Mining: which recurring target spans go with a cue in the prompts.

Spans and cues are counted together once, by a product of sparse matrices; the promising spans get
a rule over cues and become candidates.
"""

from dataclasses import dataclass

import numpy as np

from gradgate.common.arrays import Floats, Ints, Marks
from gradgate.methods.association.association import phi
from gradgate.methods.association.candidate import (
    Candidate,
    has_phrase_wordings,
    is_phrase,
    is_tight,
)
from gradgate.methods.association.corpus import MIN_SUPPORT, Corpus
from gradgate.methods.association.rules import best_rule
from gradgate.methods.association.wordings import wording_candidates

MIN_CUE_PHI = 0.25  # correlation of a span with its best single cue, from which it gets a rule
MIN_RULE_PHI = 0.7  # correlation of a span with its rule, from which it is a candidate
_MIN_PAIR_PHI = 0.1  # correlation of a pair that is kept
_MIN_PAIR_RECALL = 0.5  # P(cue | span) of a pair that is kept: perhaps one of several wordings
_MIN_PAIR_LIFT = 1.3  # of the same pair: P(span and cue) / (P(span) P(cue))
_MAX_SPANS = 2_000  # that get a rule, the best ones
_SAME_GROUP_JACCARD = 0.7  # samples in common of candidates that are one group
_MIRROR_SHARE = 0.95  # of the samples, that a group and its mirror image have together
_UNION_HEAD_START = 0.1  # correlation that several wordings may lack beside a word or two
_MAX_PRODUCTS = 50_000_000  # of matrix elements at a time


@dataclass(frozen=True)
class Pairs:
    """Spans and cues that occur together, in the order of the spans.

    Attributes:
        span: Number of the span of each pair. (n_pairs,)
        cue: Number of the cue. (n_pairs,)
        both: Samples with both. (n_pairs,)
        phi: Correlation. (n_pairs,)
        n_tested: All pairs that occur together, those that are not kept included.
    """

    span: Ints
    cue: Ints
    both: Floats
    phi: Floats
    n_tested: int


def count_pairs(corpus: Corpus) -> Pairs:
    """Count all spans with all cues, and keep the pairs that are associated."""
    spans, cues = corpus.spans, corpus.cues
    work = spans.by_text.T @ np.diff(cues.by_text.indptr).astype(np.float64)
    chunk = (np.cumsum(work) // _MAX_PRODUCTS).astype(np.int64)
    columns: list[tuple[Ints, Ints, Floats, Floats]] = []
    n_tested = 0
    for number in np.unique(chunk):
        some = np.flatnonzero(chunk == number)
        table = (spans.by_feature[:, some].T @ cues.by_text).tocoo()
        n_tested += table.nnz
        span, cue = some[table.row], table.col.astype(np.int64)
        both = table.data.astype(np.float64)
        n_span, n_cue = spans.counts[span], cues.counts[cue]
        strength = phi(both, n_span, n_cue, corpus.n)
        is_wording = (both >= _MIN_PAIR_RECALL * n_span) & (
            both * corpus.n > _MIN_PAIR_LIFT * n_span * n_cue
        )
        kept = (both >= MIN_SUPPORT) & ((strength >= _MIN_PAIR_PHI) | is_wording)
        columns.append((span[kept], cue[kept], both[kept], strength[kept]))
    if not columns:
        empty = np.empty(0, np.int64)
        return Pairs(empty, empty, np.empty(0), np.empty(0), 0)
    span, cue, both, strength = (np.concatenate(column) for column in zip(*columns, strict=True))
    order = np.argsort(span, kind="stable")
    return Pairs(span[order], cue[order], both[order], strength[order], n_tested)


def mine(corpus: Corpus, min_carriers: int) -> tuple[list[Candidate], int]:
    """Spans that a rule over cues predicts, each once, and the number of pairs that were tested.

    Args:
        corpus: The samples.
        min_carriers: Carriers of a group.

    Returns:
        Candidates, the tightest first.
    """
    pairs = count_pairs(corpus)
    candidates = _span_candidates(corpus, pairs, min_carriers)
    candidates += wording_candidates(
        corpus, pairs.span, pairs.cue, pairs.both, min_carriers, MIN_RULE_PHI
    )
    return sorted(candidates, key=lambda one: _rank(corpus, one)), pairs.n_tested


def _rank(corpus: Corpus, candidate: Candidate) -> tuple[float, ...]:
    """Tight ones first; a phrase before several wordings, and these before words or pieces."""
    return (
        not is_tight(corpus, candidate, corpus.n),
        not is_phrase(corpus, candidate),
        not has_phrase_wordings(corpus, candidate),
        -round(candidate.rule.phi + _UNION_HEAD_START * candidate.is_union, 2),
        candidate.is_union,
        -int(candidate.carriers.sum()),
        candidate.spans[0],
    )


def _span_candidates(corpus: Corpus, pairs: Pairs, min_carriers: int) -> list[Candidate]:
    best = np.zeros(corpus.spans.by_text.shape[1])
    np.maximum.at(best, pairs.span, pairs.phi)
    promising = np.flatnonzero((best >= MIN_CUE_PHI) & (corpus.spans.counts >= min_carriers))
    candidates: list[Candidate] = []
    seen: set[bytes] = set()
    # grows with the test statistic
    weight = best[promising] * np.sqrt(corpus.spans.counts[promising])
    for span in promising[np.lexsort((-promising, -weight))]:  # of equal ones the longest first
        samples = corpus.spans.texts_with(int(span)).tobytes()
        if samples in seen:  # part of a longer span
            continue
        seen.add(samples)
        if len(seen) > _MAX_SPANS:
            break
        carriers = corpus.spans.has(int(span))
        rule = best_rule(carriers, corpus.cues, MIN_SUPPORT)
        if rule is not None and rule.phi >= MIN_RULE_PHI:
            candidates.append(Candidate([int(span)], carriers, rule, is_union=False))
    return candidates


def distinct(candidates: list[Candidate], n: int) -> list[tuple[Candidate, list[int]]]:
    """Each group once, by its tightest candidate, with all spans that mark it.

    Candidates of nearly the same samples are one group. The mirror image of a group, the property
    that all *other* samples share, is left out.

    Args:
        candidates: The tightest first.
        n: Number of distinct samples.
    """
    groups: list[tuple[Candidate, list[int]]] = []
    for candidate in candidates:
        both = candidate.both
        for other, spans in groups:
            if _overlap(both, other.both):
                if not candidate.is_union:
                    spans.extend(candidate.spans)
                break
            if candidate.is_union and _is_mirror_image(both, other.both, n):
                break
        else:
            groups.append((candidate, list(candidate.spans)))
    return groups


def _overlap(one: Marks, other: Marks) -> bool:
    return int((one & other).sum()) >= _SAME_GROUP_JACCARD * int((one | other).sum())


def _is_mirror_image(one: Marks, other: Marks, n: int) -> bool:
    is_disjoint = not (one & other).any()
    return bool(is_disjoint and one.sum() + other.sum() >= _MIRROR_SHARE * n)
