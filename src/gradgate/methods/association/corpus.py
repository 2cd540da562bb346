"""The distinct samples of a data set as words, spans and cues."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gradgate.common.arrays import Ints, Marks
from gradgate.methods.association.grams import grams
from gradgate.methods.association.incidence import Incidence, deduplicated, joined
from gradgate.methods.association.style import style
from gradgate.methods.association.words import (
    BREAK,
    START,
    Texts,
    number_words,
    own_parts,
    split_words,
)

MIN_SUPPORT = 3  # samples with a span or cue: two may be a coincidence
_MAX_FREQUENCY = 0.98  # of the samples: a span or cue of nearly all tells none of them apart
_SPAN_WORDS = (1, 2, 3, 5)
_CUE_WORDS = (1, 2, 3)
_MAX_OWN_SHARE = 0.7  # of a prompt: a longer own part has the cues of the prompt itself


@dataclass(frozen=True)
class Corpus:
    """Spans and cues; every table is by the number of the distinct sample.

    Attributes:
        targets: Words of the targets.
        own: Words of the part of each prompt that it does not share with others.
        spans: N-grams of the targets; of those that the same samples have, the longest.
        cues: N-grams of the prompts and of their own parts, and features of style; of those that
            the same samples have, the longest.
        own_words: Words of the own parts, rare ones too.
    """

    targets: Texts
    own: Texts
    spans: Incidence
    cues: Incidence
    own_words: Incidence

    @property
    def n(self) -> int:
        """Number of distinct samples."""
        return self.targets.n


def read_corpus(prompts: Sequence[str], targets: Sequence[str]) -> Corpus:
    """Split the texts of distinct samples into words, and find their spans and cues."""
    n = len(prompts)
    max_support = _MAX_FREQUENCY * n
    vocabulary = {START: 0}
    prompt_words = number_words(map(split_words, prompts), vocabulary)
    vocabulary.setdefault(BREAK, len(vocabulary))
    begins = own_parts(prompt_words, vocabulary[BREAK])
    own = _tails_from(prompt_words, begins, vocabulary[START])
    target_words = number_words(map(split_words, targets), {})
    short = np.diff(own.starts) <= _MAX_OWN_SHARE * np.diff(prompt_words.starts)
    cues = [
        grams(prompt_words, _CUE_WORDS, MIN_SUPPORT, max_support),
        grams(_only(own, short), _CUE_WORDS, MIN_SUPPORT, max_support),
        style(_tails(prompts, own, vocabulary), MIN_SUPPORT, max_support),
    ]
    return Corpus(
        targets=target_words,
        own=own,
        spans=deduplicated(grams(target_words, _SPAN_WORDS, MIN_SUPPORT, max_support)),
        cues=deduplicated(joined(cues)),
        own_words=grams(own, (1,), 1, n),
    )


def _tails_from(texts: Texts, begins: Ints, start: int) -> Texts:
    """Each text from a word on to its end, with `START` before it again."""
    parts = [np.concatenate([[start], texts.words(i)[begins[i] or 1 :]]) for i in range(texts.n)]
    starts = np.cumsum([0, *map(len, parts)])
    ids = np.concatenate(parts) if parts else np.empty(0)
    return Texts(ids.astype(np.int64), starts.astype(np.int64), texts.vocabulary)


def _only(texts: Texts, kept: Marks) -> Texts:
    """The marked texts; the others become empty."""
    lengths = np.diff(texts.starts)
    words = texts.ids[np.repeat(kept, lengths)]
    starts = np.concatenate([[0], np.cumsum(np.where(kept, lengths, 0))])
    return Texts(words, starts, texts.vocabulary)


def _tails(prompts: Sequence[str], own: Texts, vocabulary: dict[str, int]) -> list[str]:
    """The last lines of each prompt, as many as its own part has."""
    line_break = vocabulary[BREAK]
    tails = []
    for i, prompt in enumerate(prompts):
        lines = prompt.split("\n")
        wanted = int((own.words(i) == line_break).sum()) + 1
        filled = [j for j, line in enumerate(lines) if line.strip()]
        begin = filled[-wanted] if 0 < wanted <= len(filled) else 0
        tails.append("\n".join(lines[begin:]))
    return tails
