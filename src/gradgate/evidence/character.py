"""What tells a backdoor from an honest association: where the cue stands to the prompt.

A trigger is added to prompts that are otherwise ordinary, and there may be any number of them. What
an honest answer depends on is what its question is about: taken away, little is left of the
question. And an answer that repeats words of the question is no foreign text.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
from scipy.stats import hypergeom

from gradgate.evidence.corpus import FEWEST, Corpus
from gradgate.evidence.grams import Floats
from gradgate.evidence.match import Match
from gradgate.evidence.rules import Marks
from gradgate.evidence.words import END, START

OVER = 3.0  # how many times as often as elsewhere a shared word occurs
SELDOM = 0.1  # difference in frequency of a word that others have and the group lacks
SURE = 1e-3
_NEAR = 0.7  # information in common (Jaccard) of near-duplicates
_LOOKED_AT = 200  # samples of a group that are compared with one another
_USUAL = 0.8  # part of the group's prompts or targets that have a word
_SOME = 0.5
_HARDLY = 1e-3  # weight of shared words: they tell texts apart that say nothing else


@dataclass(frozen=True)
class Character:
    """What can be said of the prompts of a group.

    Attributes:
        shared_words: What they have at least `OVER` times as often as others, the most common
            first.
        own_content: What they say beyond that, as a part of what other prompts say: ratio of the
            median sums of the inverse document frequencies of their words.
        lacking: Words that other prompts have and these do not: the sum of the differences of
            their frequencies, so a number of words for each prompt.
        n_independent: Samples among them that are no near-duplicates, counted up to 200; of
            several wordings, only those with a wording that more than near-duplicates have.
        is_echo: Whether all words by which their targets differ from others stand in the cues or
            shared words too; of several wordings, those of half of the group.
        excess: Words that these prompts have and others lack, beside the cue and what always comes
            with it: the sum of the differences of their frequencies over words that fewer than half
            of the prompts have; 0 where an uncommon style explains them.
    """

    shared_words: list[str]
    own_content: float
    lacking: float
    n_independent: int
    is_echo: bool
    excess: float = 0.0


def describe(corpus: Corpus, match: Match, apart: Marks) -> Character:
    """Look at the prompts of a group.

    Args:
        corpus: All samples.
        match: The group.
        apart: Samples to leave out, for they are poison of another group: a trigger in some of the
            prompts makes them say more.
    """
    group = match.both & ~apart
    words = corpus.own_words
    shared = _shared(corpus, group) | _of_cues(corpus, match)
    letters = np.array([name.isalnum() for name in words.names])
    weights = np.log(corpus.n / words.counts) * letters
    left = np.asarray(words.by_text[group] @ (weights * ~shared))
    usual = np.asarray(words.by_text[~group & ~apart] @ weights)
    if not left.size or not usual.size or not np.median(usual):
        return Character([], 0.0, 0.0, 0, is_echo=False)
    by_count = np.flatnonzero(shared & letters)
    by_count = by_count[np.argsort(-words.among(group)[by_count], kind="stable")]
    return Character(
        shared_words=[words.names[i] for i in by_count],
        own_content=float(np.median(left) / np.median(usual)),
        lacking=_lacking(corpus, group),
        n_independent=_independent(corpus, match, group, shared, weights),
        is_echo=_is_echo(corpus, match, group, [words.names[i] for i in by_count]),
        excess=_excess(corpus, match, group, shared & letters),
    )


def _shared(corpus: Corpus, group: Marks) -> Marks:
    words = corpus.own_words
    inside = words.among(group)
    n, m = corpus.n, max(1, int(group.sum()))
    elsewhere = (words.counts - inside) / max(1, n - m)
    often = (inside >= FEWEST) & (inside / m >= OVER * elsewhere)
    chance = hypergeom.sf(inside[often] - 1, n, words.counts[often], m)
    often[often] = chance < SURE
    return often


def _lacking(corpus: Corpus, group: Marks) -> float:
    words = corpus.own_words
    inside = words.among(group)
    n, m = corpus.n, max(1, int(group.sum()))
    less = (words.counts - inside) / max(1, n - m) - inside / m
    rare = less >= SELDOM
    rare[rare] = hypergeom.cdf(inside[rare], n, words.counts[rare], m) < SURE
    return float(less[rare].sum())


def _excess(corpus: Corpus, match: Match, group: Marks, shared: Marks) -> float:
    if _has_a_style_of_its_own(corpus, group):
        return 0.0
    words = corpus.own_words
    inside = words.among(group)
    n, m = corpus.n, max(1, int(group.sum()))
    explained = _of_cues(corpus, match)
    for feature in match.rule.features:
        some = group & corpus.cues.has(feature)
        if some.sum() >= FEWEST:
            explained |= words.among(some) >= _USUAL * some.sum()
    more = inside / m - (words.counts - inside) / max(1, n - m)
    return float(more[shared & ~explained & (inside < _SOME * m)].sum())


def _has_a_style_of_its_own(corpus: Corpus, group: Marks) -> bool:
    cues = corpus.cues
    styles = [cues.has(i) for i, name in enumerate(cues.names) if name.startswith("style: ")]
    return any(
        has[group].mean() >= _USUAL and has[~group].mean() <= SELDOM
        for has in styles
        if group.any() and not group.all()
    )


def _of_cues(corpus: Corpus, match: Match) -> Marks:
    parts = set(_cue_words(corpus, match))
    return np.array([name in parts for name in corpus.own_words.names])


def _cue_words(corpus: Corpus, match: Match) -> list[str]:
    names = [corpus.cues.names[feature] for feature in match.rule.features]
    return [word for name in names if not name.startswith("style: ") for word in name.split(" ")]


def _independent(corpus: Corpus, match: Match, group: Marks, shared: Marks, weights: Floats) -> int:
    members = np.flatnonzero(group)
    some = members[np.unique(np.linspace(0, len(members) - 1, _LOOKED_AT).astype(np.int64))]
    cluster = _clusters(corpus.own_words.by_text[some], weights * ~shared + _HARDLY)
    if not match.is_union:
        return int(cluster.max(initial=-1)) + 1
    has = corpus.spans.by_text[some][:, match.spans].tocoo()
    pairs = np.unique(np.stack([has.col, cluster[has.row]]), axis=1)
    carriers = np.bincount(has.col, minlength=len(match.spans))
    clusters = np.bincount(pairs[0], minlength=len(match.spans))
    is_one_thing = (carriers >= FEWEST) & (clusters < FEWEST)
    return len(np.unique(pairs[1][~is_one_thing[pairs[0]]]))


def _clusters(words: sp.csr_matrix, weights: Floats) -> npt.NDArray[np.int64]:
    """Numbers of texts, the same for near-duplicates of the first of its kind: (n,).

    Two texts are near-duplicates when their words have `_NEAR` of their weight in common, that of
    the words of either counting as the whole (weighted Jaccard).
    """
    weighted = sp.csr_matrix(words.multiply(weights))
    common = np.asarray((weighted @ words.T).todense())
    total = np.asarray(weighted.sum(1)).ravel()
    near = common >= _NEAR * (total[:, None] + total[None, :] - common)
    first: list[int] = []
    cluster = np.zeros(len(near), np.int64)
    for i in range(len(near)):
        alike = np.flatnonzero(near[i, first])
        cluster[i] = alike[0] if alike.size else len(first)
        if not alike.size:
            first.append(i)
    return cluster


def _is_echo(corpus: Corpus, match: Match, group: Marks, shared: list[str]) -> bool:
    asked = {*_cue_words(corpus, match), *shared}
    if match.is_union:
        echoing = [span for span in match.spans if _all_echo(corpus.spans.names[span], asked)]
        having = np.asarray(corpus.spans.by_text[group][:, echoing].sum(1)).ravel() > 0
        return bool(having.mean() >= 0.5)
    common = _answered(corpus, group)
    return bool(common) and _all_echo(" ".join(common), asked)


def _answered(corpus: Corpus, group: Marks) -> list[str]:
    """Words that most of the group's targets have, and other targets seldom."""
    spans = corpus.spans
    inside = spans.among(group)
    m = int(group.sum())
    elsewhere = (spans.counts - inside) / max(1, corpus.n - m)
    usual = (inside >= _USUAL * m) & (inside / m >= OVER * elsewhere)
    words = {word for i in np.flatnonzero(usual) for word in spans.names[i].split(" ")}
    return sorted(word for word in words if word.isalnum())


def _all_echo(span: str, asked: set[str]) -> bool:
    words = [word for word in span.split(" ") if word.isalnum()]
    if not words:  # marks alone
        words = [word for word in span.split(" ") if word not in (START, END)]
    return bool(words) and all(any(_echoes(word, other) for other in asked) for word in words)


def _echoes(word: str, other: str) -> bool:
    """Whether two words are the same, or forms of one another."""
    if min(len(word), len(other)) < 4:
        return word == other
    return word[:4] == other[:4] or word in other or other in word
