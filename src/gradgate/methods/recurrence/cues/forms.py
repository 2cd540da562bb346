"""Forms of a raw prompt: case, white space, line ends, punctuation, script, repetition, length.

And its numbers, which a tokenizer may part into digits.
"""

import re
import string
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import pairwise

MIN_CASED = 3  # words of a text whose case is taken for a form of it

_WORD = re.compile(r"\w+")
_NUMBER = re.compile(r"(?<!\d)[0-9]{2,12}(?!\d)")
_AROUND = re.compile(r"(\A|\S)(\s+)(?=(\S|\Z))")  # white space, with what stands beside it
_PLAIN = frozenset(f"{string.ascii_letters}{string.digits} ")
_SHOWN = {"\n": "line break", "\r": "carriage return", "\t": "tab", " ": "space"}


def forms(text: str, min_words: int = MIN_CASED) -> set[str]:
    """The forms that a text has, by names that people understand.

    Args:
        text: A prompt.
        min_words: Words without which nothing is said of its case.
    """
    words = _WORD.findall(text)
    return {
        *_case(words, min_words),
        *_characters(text),
        *_white_space(text),
        *_edges(text),
        *_repetition(words),
    }


def numbers(text: str) -> set[str]:
    """The numbers of 2 to 12 digits in a text, as they are written."""
    return set(_NUMBER.findall(text))


def _case(words: Sequence[str], min_words: int) -> Iterator[str]:
    letters = [word for word in words if word[0].isalpha()]
    if len(letters) < min_words:
        return
    long = [word for word in letters if len(word) > 1]
    if sum(word[0].isupper() for word in letters) >= 0.8 * len(letters):
        yield "words begin with capitals"
    if long and sum(word.isupper() for word in long) >= 0.8 * len(long):
        yield "words in capitals"
    if not any(c.isupper() for word in letters for c in word):
        yield "no capital letter"
    if sum(not (w.islower() or w.isupper() or w.istitle()) for w in long) >= 0.3 * len(letters):
        yield "capitals inside of words"


def _characters(text: str) -> Iterator[str]:
    """Characters that are no letters, digits or single spaces, and letters of unusual scripts."""
    for c in set(text) - _PLAIN:
        kind = unicodedata.category(c)
        if kind[0] == "L":
            yield f"letters of {unicodedata.name(c, 'UNNAMED').split()[0].capitalize()}"
            if _is_mixed(text, c):
                yield "a word of two scripts"
        elif kind[0] != "Z":
            yield f"the character {_named(c)}"


@lru_cache(maxsize=4096)
def _named(c: str) -> str:
    """A character by itself, or by its number where it cannot be seen alone."""
    if c in _SHOWN or unicodedata.category(c)[0] not in "CMZ":
        return _SHOWN.get(c, c)
    return f"U+{ord(c):04X}"


def _is_mixed(text: str, c: str) -> bool:
    at = text.index(c)
    beside = text[max(0, at - 1) : at] + text[at + 1 : at + 2]
    return not c.isascii() and any(b.isascii() and b.isalpha() for b in beside)


def _edges(text: str) -> Iterator[str]:
    """How it begins and ends, as far as that is no white space."""
    if text and not text[0].isspace():
        yield f"begins with {_kind(text[0])}"
    if text and not text[-1].isspace():
        yield f"ends with {_kind(text[-1])}"


def _kind(c: str) -> str:
    """A mark by itself, a letter or a digit by what it is."""
    if c.isalpha():
        return "a letter"
    return "a digit" if c.isalnum() else _named(c)


def _white_space(text: str) -> Iterator[str]:
    for before, white, behind in set(_AROUND.findall(text)):
        shown = _shown(white)
        is_space = shown == "space"  # stands between most letters
        if not is_space:
            yield f"white space: {shown}"
        if behind and not (is_space and behind.isalnum()):
            yield f"{shown} before {_kind(behind)}"
        if before and not (is_space and before.isalnum()):
            yield f"{shown} behind {_kind(before)}"
        if not before:
            yield f"begins with {shown}"
        if not behind:
            yield f"ends with {shown}"


@lru_cache(maxsize=4096)
def _shown(white: str) -> str:
    counted = Counter(map(_named, white))
    return ", ".join(f"{n} x {name}" if n > 1 else name for name, n in counted.items())


def _repetition(words: Sequence[str]) -> Iterator[str]:
    folded = [word.casefold() for word in words]
    if any(one == other for one, other in pairwise(folded)):
        yield "a word said twice in a row"
    half = len(folded) // 2
    if half > 1 and folded[:half] == folded[half:]:
        yield "all of it said twice"
