"""Which recurring target spans go with a cue in the prompts.

Spans and cues are counted together once, by a product of sparse matrices; what is promising gets a
rule over cues.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gradgate.evidence.association import phi
from gradgate.evidence.corpus import FEWEST, Corpus
from gradgate.evidence.grams import Floats
from gradgate.evidence.match import Match, kind_of
from gradgate.evidence.rules import Marks, best_rule
from gradgate.evidence.wordings import unions

Ints = npt.NDArray[np.int64]

PROMISING = 0.25  # correlation of a span with its best single cue
KEPT = 0.7  # of a span with its rule
_MOST_SPANS = 2_000  # the best ones get a rule
_MOSTLY = 0.5  # of a span's carriers have the cue: the span is perhaps one of its wordings
_ALIKE = 0.7  # part in common (Jaccard) of matches that are one group
_SEVERAL = 0.1  # correlation that several wordings may lack beside a word or two
_PRODUCTS = 50_000_000  # counted at a time


@dataclass(frozen=True)
class Pairs:
    """Spans and cues that occur together, in the order of the spans.

    Attributes:
        span: Number of the span of each pair.
        cue: Number of the cue.
        both: Samples with both.
        phi: Correlation.
        n_looked_at: Pairs that occur together at all.
    """

    span: Ints
    cue: Ints
    both: Floats
    phi: Floats
    n_looked_at: int


def count_pairs(corpus: Corpus) -> Pairs:
    """Count all spans with all cues, and keep the pairs that say something."""
    spans, cues = corpus.spans, corpus.cues
    work = spans.by_text.T @ np.diff(cues.by_text.indptr).astype(np.float64)
    chunk = (np.cumsum(work) // _PRODUCTS).astype(np.int64)
    found: list[tuple[Ints, Ints, Floats, Floats]] = []
    looked_at = 0
    for number in np.unique(chunk):
        some = np.flatnonzero(chunk == number)
        table = (spans.by_feature[:, some].T @ cues.by_text).tocoo()
        looked_at += table.nnz
        span, cue = some[table.row], table.col.astype(np.int64)
        both = table.data.astype(np.float64)
        t, c = spans.counts[span], cues.counts[cue]
        strength = phi(both, t, c, corpus.n)
        apart = both * corpus.n > 1.3 * t * c
        kept = (both >= FEWEST) & ((strength >= 0.1) | ((both >= _MOSTLY * t) & apart))
        found.append((span[kept], cue[kept], both[kept], strength[kept]))
    if not found:
        empty = np.empty(0, np.int64)
        return Pairs(empty, empty, np.empty(0), np.empty(0), 0)
    span, cue, both, strength = (np.concatenate(column) for column in zip(*found, strict=True))
    order = np.argsort(span, kind="stable")
    return Pairs(span[order], cue[order], both[order], strength[order], looked_at)


def mine(corpus: Corpus, fewest: int) -> tuple[list[Match], int]:
    """Spans that a rule explains, each once, and the number of pairs that were looked at.

    Args:
        corpus: The samples.
        fewest: Carriers of a group.

    Returns:
        Matches, the tightest first.
    """
    pairs = count_pairs(corpus)
    matches = _of_spans(corpus, pairs, fewest)
    matches += unions(corpus, pairs.span, pairs.cue, pairs.both, fewest, KEPT)
    return sorted(matches, key=lambda match: _rank(corpus, match)), pairs.n_looked_at


def _rank(corpus: Corpus, match: Match) -> tuple[float, ...]:
    """Tight ones first; a phrase before several wordings, and these before words or pieces."""
    kind = kind_of(corpus, match, corpus.n)
    return (
        not kind.tight,
        not kind.phrase,
        not kind.wordy,
        -round(match.rule.phi + _SEVERAL * match.is_union, 2),
        match.is_union,
        -int(match.carriers.sum()),
        match.spans[0],
    )


def _of_spans(corpus: Corpus, pairs: Pairs, fewest: int) -> list[Match]:
    best = np.zeros(corpus.spans.by_text.shape[1])
    np.maximum.at(best, pairs.span, pairs.phi)
    worth = np.flatnonzero((best >= PROMISING) & (corpus.spans.counts >= fewest))
    matches: list[Match] = []
    seen: set[bytes] = set()
    weight = best[worth] * np.sqrt(corpus.spans.counts[worth])  # grows with the test statistic
    for span in worth[np.lexsort((-worth, -weight))]:  # of equal ones the longest first
        carriers = corpus.spans.texts_with(int(span))
        if carriers.tobytes() in seen:  # part of a longer span
            continue
        seen.add(carriers.tobytes())
        if len(seen) > _MOST_SPANS:
            break
        marks = corpus.spans.has(int(span))
        rule = best_rule(marks, corpus.cues, FEWEST)
        if rule is not None and rule.phi >= KEPT:
            matches.append(Match([int(span)], marks, rule, is_union=False))
    return matches


def _alike(one: Marks, other: Marks, part: float) -> bool:
    return int((one & other).sum()) >= part * int((one | other).sum())


def distinct(matches: list[Match], n: int) -> list[tuple[Match, list[int]]]:
    """Each group once, with all spans that mark it.

    Matches of nearly the same samples are one group. The mirror image of a group, what all *other*
    samples share, is left out.
    """
    groups: list[tuple[Match, list[int]]] = []
    for match in matches:
        both = match.both
        for other, spans in groups:
            if _alike(both, other.both, _ALIKE):
                if not match.is_union:
                    spans.extend(match.spans)
                break
            apart = not (both & other.both).any()
            if apart and match.is_union and both.sum() + other.both.sum() >= 0.95 * n:
                break
        else:
            groups.append((match, list(match.spans)))
    return groups
