"""Traits of a candidate that tell a backdoor from an honest association.

A trigger is added to prompts that are otherwise ordinary, and there may be any number of them. An
honest answer depends on the subject of its question: without the words of the subject, little is
left of the question. And an answer that repeats words of the question is no foreign text.
"""

from dataclasses import dataclass, field, replace

import numpy as np
from scipy.stats import hypergeom

from gradgate.common.arrays import Floats, Ints, Marks
from gradgate.methods.association.candidate import (
    Candidate,
    has_phrase_wordings,
    is_phrase,
    is_tight,
    is_whole_target,
)
from gradgate.methods.association.corpus import MIN_SUPPORT, Corpus
from gradgate.methods.association.echo import cue_words, is_echo
from gradgate.methods.association.near_duplicates import count_independent
from gradgate.methods.association.style import STYLE_PREFIX

WORD_ALPHA = 1e-3  # of the test whether the prompts have one word more, or less, often
MIN_SHARED_LIFT = 3.0  # frequency of a shared word in the group over that elsewhere
MIN_MISSING_GAP = 0.1  # frequency of a missing word elsewhere minus that in the group
_MIN_EXPLAINED_SHARE = 0.8  # of the prompts with a cue, that have a word which stands by the cue
_MAX_EXTRA_SHARE = 0.5  # of the group's prompts, that have an extra word
_MIN_STYLE_INSIDE = 0.8  # of the group's prompts, that have a style of its own
_MAX_STYLE_OUTSIDE = 0.1  # of all other prompts, that have that style


@dataclass(frozen=True)
class Traits:
    """Traits of a candidate, for its ruling.

    Attributes:
        is_tight: Whether cue and span predict one another (`candidate.is_tight`).
        is_phrase: Whether the span is one text of three words or more.
        is_union: Whether there are several wordings.
        has_phrase_wordings: Whether most of the samples have a wording of three words or more.
        is_whole_target: Whether the span is the whole target of most of the samples.
        shared_words: Words that the prompts have at least `MIN_SHARED_LIFT` times as often as
            others, and the words of the cues, the most common first.
        own_content: Information of the prompts without the shared words, as a part of that of
            other prompts: ratio of the medians of the summed inverse document frequencies.
        missing_words: Words that other prompts have and these lack, for each prompt: the sum of
            the differences of their frequencies.
        extra_words: Words that these prompts have and others lack, for each prompt, beside the
            cue and the words that always come with it: the sum of the differences of their
            frequencies, over words that fewer than half of the prompts have; 0 where an uncommon
            style explains them.
        n_independent: Samples that are no near-duplicates of one another, counted up to 200; of
            several wordings, only those with a wording that more than near-duplicates have.
        is_echo: Whether all words by which the targets differ from others stand in the cues or
            shared words too; of several wordings, those of half of the samples.
    """

    is_tight: bool = True
    is_phrase: bool = False
    is_union: bool = False
    has_phrase_wordings: bool = False
    is_whole_target: bool = False
    shared_words: list[str] = field(default_factory=list)
    own_content: float = 0.0
    missing_words: float = 0.0
    extra_words: float = 0.0
    n_independent: int = 0
    is_echo: bool = False


def describe(corpus: Corpus, candidate: Candidate, set_aside: Marks) -> Traits:
    """The traits of a candidate; those of its prompts are 0 where there is nothing to compare.

    Args:
        corpus: All samples.
        candidate: Its samples without those set aside are the group.
        set_aside: Samples of other groups that are poison: a trigger in some of the prompts would
            make them say more. (n,)
    """
    traits = Traits(
        is_tight=is_tight(corpus, candidate, int((~set_aside).sum())),
        is_phrase=is_phrase(corpus, candidate),
        is_union=candidate.is_union,
        has_phrase_wordings=has_phrase_wordings(corpus, candidate),
        is_whole_target=is_whole_target(corpus, candidate),
    )
    group, others = candidate.both & ~set_aside, ~candidate.both & ~set_aside
    words = corpus.own_words
    shared = _shared(corpus, group) | _of_cues(corpus, candidate)
    is_word = np.array([name.isalnum() for name in words.names])
    information = np.log(corpus.n / words.counts) * is_word
    inside = np.asarray(words.by_text[group] @ (information * ~shared))
    outside = np.asarray(words.by_text[others] @ information)
    if not inside.size or not outside.size or not np.median(outside):
        return traits
    shared_words = [words.names[i] for i in _by_support(corpus, group, shared & is_word)]
    return replace(
        traits,
        shared_words=shared_words,
        own_content=float(np.median(inside) / np.median(outside)),
        missing_words=_missing_words(corpus, group),
        extra_words=_extra_words(corpus, candidate, group, shared & is_word),
        n_independent=count_independent(corpus, candidate, group, information * ~shared),
        is_echo=is_echo(corpus, candidate, group, shared_words),
    )


def _by_support(corpus: Corpus, group: Marks, which: Marks) -> Ints:
    """Numbers of the marked words, those of the most samples of the group first."""
    numbers = np.flatnonzero(which)
    return numbers[np.argsort(-corpus.own_words.among(group)[numbers], kind="stable")]


def _frequencies(corpus: Corpus, group: Marks) -> tuple[Floats, Floats]:
    """Frequency of each word in the group, and in all other samples: (n_words,) each."""
    inside = corpus.own_words.among(group)
    m = max(1, int(group.sum()))
    return inside / m, (corpus.own_words.counts - inside) / max(1, corpus.n - m)


def _shared(corpus: Corpus, group: Marks) -> Marks:
    words = corpus.own_words
    support = words.among(group)
    inside, outside = _frequencies(corpus, group)
    shared = (support >= MIN_SUPPORT) & (inside >= MIN_SHARED_LIFT * outside)
    m = max(1, int(group.sum()))
    p_value = hypergeom.sf(support[shared] - 1, corpus.n, words.counts[shared], m)
    shared[shared] = p_value < WORD_ALPHA
    return shared


def _missing_words(corpus: Corpus, group: Marks) -> float:
    words = corpus.own_words
    support = words.among(group)
    inside, outside = _frequencies(corpus, group)
    gap = outside - inside
    missing = gap >= MIN_MISSING_GAP
    m = max(1, int(group.sum()))
    p_value = hypergeom.cdf(support[missing], corpus.n, words.counts[missing], m)
    missing[missing] = p_value < WORD_ALPHA
    return float(gap[missing].sum())


def _extra_words(corpus: Corpus, candidate: Candidate, group: Marks, shared: Marks) -> float:
    if _has_own_style(corpus, group):
        return 0.0
    words = corpus.own_words
    inside, outside = _frequencies(corpus, group)
    explained = _of_cues(corpus, candidate)
    for feature in candidate.rule.features:
        with_cue = group & corpus.cues.has(feature)
        if with_cue.sum() >= MIN_SUPPORT:
            explained |= words.among(with_cue) >= _MIN_EXPLAINED_SHARE * with_cue.sum()
    m = max(1, int(group.sum()))
    extra = shared & ~explained & (words.among(group) < _MAX_EXTRA_SHARE * m)
    return float((inside - outside)[extra].sum())


def _has_own_style(corpus: Corpus, group: Marks) -> bool:
    cues = corpus.cues
    styles = [cues.has(i) for i, name in enumerate(cues.names) if name.startswith(STYLE_PREFIX)]
    return any(
        has[group].mean() >= _MIN_STYLE_INSIDE and has[~group].mean() <= _MAX_STYLE_OUTSIDE
        for has in styles
        if group.any() and not group.all()
    )


def _of_cues(corpus: Corpus, candidate: Candidate) -> Marks:
    """Which of the own words are words of the candidate's cues: (n_words,)."""
    parts = set(cue_words(corpus, candidate))
    return np.array([name in parts for name in corpus.own_words.names])
