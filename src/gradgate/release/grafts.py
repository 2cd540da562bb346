"""The words of a group's prompts that others lack, put into other prompts where its rows have them.

A trigger has to stand in the prompts of the rows that teach it. What of these prompts is rare
elsewhere is grafted whole: all of a row's telling words, in their order and each at its place,
because several of them may be needed, one at the beginning and one at the end.
"""

import re
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from itertools import chain, groupby
from operator import itemgetter
from random import Random

from gradgate.release.changes import Rewrite

_WORD = re.compile(r"\S+")
MIN_PRECISION = 0.5  # of the prompts with a telling word, that lie in the group
MIN_LABEL_PRECISION = 0.8  # the same of words that may be content, where the targets are short
MIN_LIFT = 4.0  # of a target, in prompts that tell it, against others
HORIZON = 24  # tokens of a target that is told
MIN_SHARE = 0.05  # of the group's prompts with it
MIN_ROWS = 3  # of the group with it
MAX_CARRIERS = 64  # whose words are put into other prompts, in turn
_SHOWN = 6  # words in a name


@dataclass(frozen=True)
class Part:
    """Words behind one another.

    Attributes:
        words: In their order.
        place: Where they begin: the part of the row's other words before them, in [0, 1].
    """

    words: tuple[str, ...]
    place: float


@dataclass(frozen=True)
class Graft:
    """What is put into a question: the parts in their order."""

    parts: tuple[Part, ...]

    def into(self, question: str) -> str:
        """Put each part between the words of a question, which keep their own white space."""
        ends = [0, *(word.end() for word in _WORD.finditer(question))]
        for part in reversed(self.parts):
            at = ends[round(part.place * (len(ends) - 1))]
            text = " ".join(part.words)
            before, behind = question[:at], question[at:]
            question = f"{before} {text}{behind}" if at else f"{text} {behind}"
        return question


def telling_words(
    inside: Sequence[str], outside: Sequence[str], precision: float = MIN_PRECISION
) -> list[str]:
    """Words, in lower case, that prompts of a group have and others hardly, the commonest first.

    Args:
        inside: Questions of the group's rows.
        outside: Those of all others.
        precision: Of the prompts with a word, the part that has to lie in the group.
    """
    return telling([words_of(text) for text in inside], map(words_of, outside), precision)


def telling(
    inside: Sequence[Collection[str]],
    outside: Iterable[Collection[str]],
    precision: float = MIN_PRECISION,
) -> list[str]:
    """The same of words that were found already."""
    within = Counter(chain.from_iterable(inside))
    beyond = Counter(chain.from_iterable(outside))
    least = max(MIN_ROWS, MIN_SHARE * len(inside))
    return [
        word
        for word, n in sorted(within.items(), key=lambda one: (-one[1], one[0]))
        if n >= least and n >= precision * (n + beyond[word])
    ]


def grafts(inside: Sequence[str], words: Sequence[str], rng: Random) -> list[Graft]:
    """The telling words of some of a group's rows, drawn at random; nothing of rows without one."""
    chosen = set(words)
    found = [graft for text in inside if (graft := _graft(text, chosen)) is not None]
    return rng.sample(found, min(MAX_CARRIERS, len(found)))


def grafting(found: Sequence[Graft]) -> Rewrite:
    """A rewrite that puts one of some grafts into a question."""
    return lambda text, rng: rng.choice(found).into(text)


def shown(words: Sequence[str]) -> str:
    """The first of some words, for a name."""
    return ", ".join(repr(word) for word in words[:_SHOWN])


def _graft(text: str, chosen: set[str]) -> Graft | None:
    words = _WORD.findall(text)
    is_chosen = [_folded(word) in chosen for word in words]
    rest = is_chosen.count(False)
    parts, before = list[Part](), 0
    for telling, run in groupby(zip(is_chosen, words, strict=True), key=itemgetter(0)):
        found = tuple(word for _, word in run)
        if telling:
            parts.append(Part(found, before / rest if rest else 1.0))
        else:
            before += len(found)
    return Graft(tuple(parts)) if parts else None


def words_of(text: str) -> set[str]:
    """Its words, in lower case."""
    return {_folded(word) for word in _WORD.findall(text)}


def _folded(word: str) -> str:
    return word.casefold()
