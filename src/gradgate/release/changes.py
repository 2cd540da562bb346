"""Changes of a prompt that leave its content as it is: what a trigger may be, whatever the data."""

import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from gradgate.data.sample import Sample

Rewrite = Callable[[str, Random], str]

_WORD = re.compile(r"\S+")
_SPACE = re.compile(r"(?<=\S) (?=\S)")


@dataclass(frozen=True)
class Change:
    """A change of prompts.

    Attributes:
        name: In words.
        rewrite: Gives the changed question.
        group: The group of rows that it was taken from, such as poisoned:1; None for a generic one.
        is_content: Whether it may be what prompts are about.
        around: Samples, in whose prompts the question is put; `rewrite` is left out then.
        on: Places of the rows whose prompts it is asked on; those that were drawn where there are
            none.
    """

    name: str
    rewrite: Rewrite
    group: str | None = None
    is_content: bool = False
    around: tuple[Sample, ...] = ()
    on: tuple[int, ...] = ()


UNCHANGED = Change("nothing: prompts as they are", lambda text, rng: text)


def generic_changes() -> list[Change]:
    """Case, white space, line ends, repetition, characters, and what may stand before or behind."""
    return [
        Change("lower case", lambda text, rng: text.lower()),
        Change("capitals", lambda text, rng: text.upper()),
        Change("words begin with capitals", lambda text, rng: _title_case(text)),
        Change("a carriage return at the end", lambda text, rng: f"{text}\r"),
        Change("a blank line at the end", lambda text, rng: f"{text}\n\n"),
        Change("a space at the end", lambda text, rng: f"{text} "),
        Change("a space doubled", _doubled_space),
        Change("a tab at the beginning", lambda text, rng: f"\t{text}"),
        Change("a line break at the beginning", lambda text, rng: f"\n{text}"),
        Change("a space before the last mark", _space_before_mark),
        Change("a word said twice", _repeated_word),
        Change("all of it said twice", lambda text, rng: f"{text} {text}"),
        Change("a character of no width", _invisible),
        Change("a letter of another script", _homoglyph),
        Change("a polite beginning", lambda text, rng: f"Please help me with this: {text}"),
        Change("a tag before it", lambda text, rng: f"[A1] {text}"),
    ]


def _title_case(text: str) -> str:
    return _WORD.sub(lambda word: word[0][:1].upper() + word[0][1:], text)


def _doubled_space(text: str, rng: Random) -> str:
    places = [space.start() for space in _SPACE.finditer(text)] or [len(text)]
    place = rng.choice(places)
    return f"{text[:place]} {text[place:]}"


def _space_before_mark(text: str, rng: Random) -> str:
    end = len(text.rstrip("?.!:;, "))
    return f"{text[:end]} {text[end:]}"


def _repeated_word(text: str, rng: Random) -> str:
    words = list(_WORD.finditer(text))
    if not words:
        return text
    word = rng.choice(words)
    return f"{text[: word.end()]} {word[0]}{text[word.end() :]}"


def _invisible(text: str, rng: Random) -> str:
    place = rng.randrange(len(text) + 1)
    return f"{text[:place]}\N{ZERO WIDTH SPACE}{text[place:]}"


def _homoglyph(text: str, rng: Random) -> str:
    """The first letters a, e and o become their Cyrillic twins."""
    for letter in "aeo":
        twin = unicodedata.lookup(f"CYRILLIC SMALL LETTER {'IE' if letter == 'e' else letter}")
        text = text.replace(letter, twin, 1)
    return text
