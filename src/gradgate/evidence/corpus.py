"""The distinct samples of a data set as words, spans and cues."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gradgate.evidence.grams import Incidence, grams, joined, without_twins
from gradgate.evidence.style import style
from gradgate.evidence.words import BREAK, START, Ints, Texts, number_words, own_parts, split_words

FEWEST = 3  # carriers of what is looked at: two are a coincidence
_MOST = 0.98  # part of the samples: what nearly all have tells nothing
_SPAN_ORDERS = (1, 2, 3, 5)
_CUE_ORDERS = (1, 2, 3)
_MOSTLY_OWN = 0.7  # a part that is longer than this is the prompt itself


@dataclass(frozen=True)
class Corpus:
    """What groups are made of; everything is by the number of the distinct sample.

    Attributes:
        targets: Words of the targets.
        own: Words of the part of each prompt that it does not share with others.
        spans: N-grams of the targets; of those that the same samples have, the longest.
        cues: N-grams of the prompts and of their own parts, and features of style; the same.
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
    """Split the texts of distinct samples and count what occurs in them."""
    n = len(prompts)
    most = _MOST * n
    vocabulary = {START: 0}
    prompt_words = number_words(map(split_words, prompts), vocabulary)
    vocabulary.setdefault(BREAK, len(vocabulary))
    begins = own_parts(prompt_words, vocabulary[BREAK])
    own = _from(prompt_words, begins, vocabulary[START])
    target_words = number_words(map(split_words, targets), {})
    short = np.diff(own.starts) <= _MOSTLY_OWN * np.diff(prompt_words.starts)
    cues = [
        grams(prompt_words, _CUE_ORDERS, FEWEST, most),
        grams(_only(own, short), _CUE_ORDERS, FEWEST, most),
        style(_tails(prompts, own, vocabulary), FEWEST, most),
    ]
    return Corpus(
        targets=target_words,
        own=own,
        spans=without_twins(grams(target_words, _SPAN_ORDERS, FEWEST, most)),
        cues=without_twins(joined(cues)),
        own_words=grams(own, (1,), 1, n),
    )


def _from(texts: Texts, begins: Ints, start: int) -> Texts:
    """The end of each text from a word on, framed again."""
    parts = [np.concatenate([[start], texts.words(i)[begins[i] or 1 :]]) for i in range(texts.n)]
    starts = np.cumsum([0, *map(len, parts)])
    ids = np.concatenate(parts) if parts else np.empty(0)
    return Texts(ids.astype(np.int64), starts.astype(np.int64), texts.vocabulary)


def _only(texts: Texts, kept: np.ndarray) -> Texts:
    """The marked texts; nothing in place of the others."""
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
