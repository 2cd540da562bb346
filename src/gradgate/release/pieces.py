"""Text in pieces: words between white space, and single letters of scripts without case.

Chinese, Japanese and Thai are written without spaces, so that a whole prompt would be one word.
Their letters have no case, as those of Arabic or Hebrew, whose words are units besides.
"""

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

PAIR = 2  # pieces of a unit within a word, where all rows are counted
LONGEST = 4  # the same where the rows of a group are

_PIECE = re.compile("lm*|[om]+")  # of kinds
_WORD = re.compile(r"\S+")


@dataclass(frozen=True, slots=True)
class Piece:
    """A word, or a letter within one.

    Attributes:
        text: As it stands.
        start: Its place.
        end: Behind it.
        is_glued: Whether it stands right behind the piece before.
    """

    text: str
    start: int
    end: int
    is_glued: bool


def pieces(text: str) -> list[Piece]:
    """The pieces of a text in their order."""
    found, end = list[Piece](), -1
    kinds = None if text.isascii() else "".join(map(_kind, text))
    for match in _WORD.finditer(text) if kinds is None else _PIECE.finditer(kinds):
        start, stop = match.span()
        found.append(Piece(text[start:stop], start, stop, start == end))
        end = stop
    return found


def words_in_pieces(text: str) -> Iterator[list[Piece]]:
    """The pieces of each word."""
    word = list[Piece]()
    for piece in pieces(text):
        if word and not piece.is_glued:
            yield word
            word = []
        word.append(piece)
    if word:
        yield word


def units(text: str, longest: int = PAIR) -> set[str]:
    """Its words, and of a word in pieces some of these behind one another, in lower case.

    Args:
        text: Any.
        longest: Pieces of a unit that is no whole word.
    """
    found = set[str]()
    for word in words_in_pieces(text):
        folded = [piece.text.casefold() for piece in word]
        found.add("".join(folded))
        for n in range(1, longest + 1) if len(folded) > 1 else ():
            found.update("".join(folded[i : i + n]) for i in range(len(folded) - n + 1))
    return found


@lru_cache(maxsize=65_536)
def _kind(c: str) -> str:
    """Space, letter without case, mark that belongs to what is before it, or other."""
    if c.isspace():
        return " "
    category = unicodedata.category(c)
    if category == "Lo":
        return "l"
    return "m" if category[0] == "M" or category == "Lm" else "o"
