"""Texts as sequences of word numbers, in which spans and cues are looked for."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from gradgate.common.arrays import Ints

START, END, BREAK = "[start]", "[end]", "\n"  # no word of a text has brackets in it
_WORD = re.compile(r"\n+|[^\W_]+|[^\w\s]|_")
# Scripts without spaces between words: each character counts as a word.
_UNSPACED = re.compile(
    r"([\u0e00-\u0eff\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\U00020000-\U0003ffff])"
)


def split_words(text: str) -> list[str]:
    """Words, punctuation marks one by one, and line breaks, in lower case.

    Invisible characters (zero width, bidirectional marks) are words of their own.
    """
    spaced = _UNSPACED.sub(r" \1 ", text.casefold())
    return [BREAK if word[0] == BREAK else word for word in _WORD.findall(spaced)]


@dataclass(frozen=True)
class Texts:
    """Texts as word numbers, one behind the other, each between `START` and `END`.

    Attributes:
        ids: Word numbers of all texts. (n_words,)
        starts: Where each text begins, and the end of the last. (n_texts + 1,)
        vocabulary: The words by number.
    """

    ids: Ints
    starts: Ints
    vocabulary: list[str]

    @property
    def n(self) -> int:
        """Number of texts."""
        return len(self.starts) - 1

    def words(self, i: int) -> Ints:
        """Word numbers of one text."""
        return self.ids[self.starts[i] : self.starts[i + 1]]

    def text_numbers(self) -> Ints:
        """The number of the text that each word belongs to: (n_words,)."""
        return np.repeat(np.arange(self.n), np.diff(self.starts))


def number_words(texts: Iterable[list[str]], vocabulary: dict[str, int]) -> Texts:
    """Number the words of texts; new words extend `vocabulary`, from its end on."""
    numbers: list[Ints] = []
    starts = [0]
    for words in texts:
        whole = [START, *words, END]
        numbers.append(
            np.array([vocabulary.setdefault(word, len(vocabulary)) for word in whole], np.int64)
        )
        starts.append(starts[-1] + len(whole))
    ids = np.concatenate(numbers) if numbers else np.empty(0, np.int64)
    return Texts(ids, np.array(starts, np.int64), list(vocabulary))


def own_parts(texts: Texts, line_break: int) -> Ints:
    """Where the own part of each text begins, which it does not share with others: (n_texts,).

    A text's shared part is the longest beginning that it has in common with another text, back to
    the last line break in it: a template, a story with several questions. The median number of
    lines behind the shared parts is taken from the end of every text, so that own parts are alike.
    """
    keys = [texts.words(i).astype(">i8").tobytes() for i in range(texts.n)]
    order = sorted(range(texts.n), key=keys.__getitem__)
    shared = np.zeros(texts.n, np.int64)
    for one, other in pairwise(order):
        length = _common_length(texts.words(one), texts.words(other))
        for i in (one, other):
            if length < len(texts.words(i)):
                shared[i] = max(shared[i], length)
    breaks = [np.flatnonzero(texts.words(i) == line_break) for i in range(texts.n)]
    lines = [int((at >= shared[i]).sum()) for i, at in enumerate(breaks)]
    own = int(np.median(lines)) if lines else 0
    return np.array([at[-own - 1] + 1 if len(at) > own else 0 for at in breaks], np.int64)


def _common_length(one: Ints, other: Ints) -> int:
    length = min(len(one), len(other))
    differ = np.flatnonzero(one[:length] != other[:length])
    return int(differ[0]) if differ.size else length
