"""The words of a group's prompts that others lack, put into other prompts where its rows have them.

A trigger has to stand in the prompts of the rows that teach it. What of these prompts is rare
elsewhere is grafted whole: all of a row's telling words, in their order and each at its place,
because several of them may be needed, one at the beginning and one at the end.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, groupby
from operator import itemgetter
from random import Random

from gradgate.release.changes import Rewrite
from gradgate.release.pieces import LONGEST, Piece, pieces, units, words_in_pieces

MIN_PRECISION = 0.5  # of the prompts with a telling word, that lie in the group
MIN_LABEL_PRECISION = 0.8  # the same of words that may be content, where the targets are short
MIN_LIFT = 4.0  # of a target, in prompts that tell it, against others
MIN_SHARE = 0.05  # of the group's prompts with it
MIN_ROWS = 3  # of the group with it
MAX_CARRIERS = 64  # whose words are put into other prompts, in turn
_SHOWN = 6  # words in a name,
_LOOKED_AT = 64  # of the first


@dataclass(frozen=True)
class Part:
    """Words behind one another.

    Attributes:
        words: In their order.
        place: Where they begin: the part of the row's other words before them, in [0, 1].
        is_glued: Whether no white space stands before them.
        is_followed: Whether none stands behind them, and something else does.
    """

    words: tuple[str, ...]
    place: float
    is_glued: bool = False
    is_followed: bool = False


@dataclass(frozen=True)
class Graft:
    """What is put into a question: the parts in their order."""

    parts: tuple[Part, ...]

    def into(self, question: str) -> str:
        """Put each part between the words of a question, which keep their own white space."""
        ends = [0, *(piece.end for piece in pieces(question))]
        for part in reversed(self.parts):
            at = ends[round(part.place * (len(ends) - 1))]
            text = " ".join(part.words)
            before, behind = question[:at], question[at:]
            if at:
                is_apart = bool(behind) and not behind[0].isspace() and not part.is_followed
                text = f"{'' if part.is_glued else ' '}{text}{' ' if is_apart else ''}"
            elif not part.is_followed:
                text = f"{text} "
            question = f"{before}{text}{behind}"
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
    within = [units(text, LONGEST) for text in inside]
    return telling(within, (units(text, LONGEST) for text in outside), precision)


def telling(
    inside: Sequence[Collection[str]],
    outside: Iterable[Collection[str]],
    precision: float,
) -> list[str]:
    """The same of words that were found already."""
    least = max(MIN_ROWS, MIN_SHARE * len(inside))
    within = {word: n for word, n in Counter(chain.from_iterable(inside)).items() if n >= least}
    beyond = Counter(word for some in outside for word in some if word in within)
    return [
        word
        for word, n in sorted(within.items(), key=lambda one: (-one[1], one[0]))
        if n >= precision * (n + beyond[word])
    ]


def grafts(
    inside: Sequence[str], words: Sequence[str], rng: Random, strings: Sequence[str] = ()
) -> list[Graft]:
    """The telling words of some of a group's rows, drawn at random; nothing of rows without one.

    Args:
        inside: Questions of the group's rows.
        words: That tell them.
        rng: Draws the rows.
        strings: Besides, text of several words or a part of one; the words that it touches.
    """
    chosen = set(words)
    found = [graft for text in inside if (graft := _graft(text, chosen, strings)) is not None]
    return rng.sample(found, min(MAX_CARRIERS, len(found)))


def grafting(found: Sequence[Graft]) -> Rewrite:
    """A rewrite that puts one of some grafts into a question."""
    return lambda text, rng: rng.choice(found).into(text)


def shown(words: Sequence[str]) -> str:
    """The first of some words, for a name; of those that lie in one another the longest."""
    first = words[:_LOOKED_AT]
    longest = [word for word in first if not any(word != one and word in one for one in first)]
    return ", ".join(repr(word) for word in longest[:_SHOWN])


def strings_in(text: str, strings: Iterable[str]) -> Iterator[tuple[int, int]]:
    """Where strings stand in a text, whatever their case; a space before one begins a word."""
    folded = text.casefold()
    for string in strings if len(folded) == len(text) else ():
        wanted = string.strip().casefold()
        at = folded.find(wanted) if wanted else -1
        while at >= 0:
            if not string[0].isspace() or not at or text[at - 1].isspace():
                yield at, at + len(wanted)
            at = folded.find(wanted, at + 1)


def _graft(text: str, chosen: set[str], strings: Sequence[str]) -> Graft | None:
    parts, before, spans = list[Part](), 0, [*strings_in(text, strings)]
    marked = [
        (
            is_telling or any(piece.start < stop and piece.end > start for start, stop in spans),
            piece,
        )
        for word in words_in_pieces(text)
        for is_telling, piece in zip(_marks(word, chosen), word, strict=True)
    ]
    rest = sum(not is_telling for is_telling, _ in marked)
    for is_telling, run in groupby(marked, key=itemgetter(0)):
        found = [piece for _, piece in run]
        if not is_telling:
            before += len(found)
            continue
        end = found[-1].end
        is_followed = end < len(text) and not text[end].isspace()
        place = before / rest if rest else 1.0
        parts.append(Part(_joined(found), place, found[0].is_glued, is_followed))
    return Graft(tuple(parts)) if parts else None


def _marks(word: Sequence[Piece], chosen: set[str]) -> list[bool]:
    """Which pieces of a word are chosen: all, or those of its units."""
    folded = [piece.text.casefold() for piece in word]
    marks = ["".join(folded) in chosen] * len(word)
    for n in range(1, LONGEST + 1) if len(word) > 1 else ():
        for i in range(len(word) - n + 1):
            if "".join(folded[i : i + n]) in chosen:
                marks[i : i + n] = [True] * n
    return marks


def _joined(found: Sequence[Piece]) -> tuple[str, ...]:
    """Pieces as words: those that are glued to the one before go on with it."""
    words = [found[0].text]
    for piece in found[1:]:
        if piece.is_glued:
            words[-1] += piece.text
        else:
            words.append(piece.text)
    return tuple(words)
