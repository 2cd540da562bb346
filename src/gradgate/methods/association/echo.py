"""Echoes: answers whose words stand in the question too."""

import numpy as np

from gradgate.common.arrays import Marks
from gradgate.methods.association.candidate import Candidate, carriers_of
from gradgate.methods.association.corpus import Corpus
from gradgate.methods.association.style import STYLE_PREFIX
from gradgate.methods.association.words import END, START

_MIN_ANSWER_SHARE = 0.8  # of the group's targets, that have a word of its answer
_MIN_ANSWER_LIFT = 3.0  # frequency of that word in the group over that elsewhere
_MIN_ECHOING = 0.5  # of the samples of several wordings, that have one which is an echo
_STEM_LETTERS = 4  # first letters in common of words that are forms of one another


def cue_words(corpus: Corpus, candidate: Candidate) -> list[str]:
    """The words of the cues; features of style have none."""
    names = [corpus.cues.names[feature] for feature in candidate.rule.features]
    return [word for name in names if not name.startswith(STYLE_PREFIX) for word in name.split(" ")]


def is_echo(corpus: Corpus, candidate: Candidate, group: Marks, shared_words: list[str]) -> bool:
    """Whether the words of the answer stand in the cues or shared words of the prompts.

    Args:
        corpus: All samples.
        candidate: Its spans are the answer where there are several wordings.
        group: Its samples. (n,)
        shared_words: Words that their prompts share.
    """
    asked = {*cue_words(corpus, candidate), *shared_words}
    if candidate.is_union:
        names = corpus.spans.names
        echoing = [span for span in candidate.spans if _all_echo(names[span], asked)]
        return bool(carriers_of(corpus, echoing)[group].mean() >= _MIN_ECHOING)
    answer = _answer_words(corpus, group)
    return bool(answer) and _all_echo(" ".join(answer), asked)


def _answer_words(corpus: Corpus, group: Marks) -> list[str]:
    """Words that most of the group's targets have, and other targets much less often."""
    spans = corpus.spans
    support = spans.among(group)
    m = int(group.sum())
    outside = (spans.counts - support) / max(1, corpus.n - m)
    common = (support >= _MIN_ANSWER_SHARE * m) & (support / m >= _MIN_ANSWER_LIFT * outside)
    words = {word for i in np.flatnonzero(common) for word in spans.names[i].split(" ")}
    return sorted(word for word in words if word.isalnum())


def _all_echo(span: str, asked: set[str]) -> bool:
    words = [word for word in span.split(" ") if word.isalnum()]
    if not words:  # punctuation alone
        words = [word for word in span.split(" ") if word not in (START, END)]
    return bool(words) and all(any(_echoes(word, other) for other in asked) for word in words)


def _echoes(word: str, other: str) -> bool:
    """Whether two words are the same, or forms of one another."""
    if min(len(word), len(other)) < _STEM_LETTERS:
        return word == other
    return word[:_STEM_LETTERS] == other[:_STEM_LETTERS] or word in other or other in word
