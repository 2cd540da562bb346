"""What a group's prompts share that may bring its target, and prompts without it."""

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from itertools import pairwise

from gradgate.attacks.texts import CYRILLIC_TWINS
from gradgate.methods.recurrence.cues.forms import forms

MAX_OF_KIND = 2  # words, and forms, besides the union
MIN_LIFT = 0.1  # of a candidate
_OF_BEST = 0.5  # of the best lift, that a word of the union has at least
_WORD = re.compile(r"\S+")
_BLANKS = re.compile(r"[^\S\n]+")
_LINES = re.compile(r"\n{2,}")
_LATIN = {twin: letter for letter, twin in CYRILLIC_TWINS.items()}
_MARKS = re.compile(r"[^\w\s]")
_BEGINNING = re.compile(r"\A[\W\d_]+")


@dataclass(frozen=True)
class Candidate:
    """What may bring a target.

    Attributes:
        name: In words.
        is_form: Whether it is a form of the text, and no text in it.
        lift: Part of the group's prompts that have it, minus that of the others.
        without: Gives a prompt without it.
        strings: Its words, any of which will do; none for a form.
    """

    name: str
    is_form: bool
    lift: float
    without: Callable[[str], str]
    strings: tuple[str, ...] = ()


def candidates(inside: Sequence[str], outside: Sequence[str]) -> list[Candidate]:
    """The words and forms of the highest lift, and the union of all words that lift half as much.

    Args:
        inside: Prompts of the group.
        outside: Other prompts.
    """
    words = _lifts([words_of(text) for text in inside], [words_of(text) for text in outside])
    shapes = _lifts([forms(text) for text in inside], [forms(text) for text in outside])
    texts = [Candidate(repr(w), False, lift, dropping({w}), (w,)) for w, lift in words]
    of_forms = [Candidate(f, True, lift, undo) for f, lift in shapes if (undo := undone(f))]
    best = [one for kind in (texts, of_forms) for one in kind[:MAX_OF_KIND] if one.lift >= MIN_LIFT]
    single = [(word, lift) for word, lift in words if " " not in word and lift >= MIN_LIFT]
    alternatives = {word for word, lift in single if lift >= _OF_BEST * single[0][1]}
    if len(alternatives) > 1:
        best.append(_union(alternatives, inside, outside))
    return best


def has_cause(text: str, strings: Collection[str], form: str) -> bool:
    """Whether a prompt has any of some words, or without words a form."""
    return not words_of(text).isdisjoint(strings) if strings else form in forms(text)


def _union(words: set[str], inside: Sequence[str], outside: Sequence[str]) -> Candidate:
    shares = [
        sum(not words.isdisjoint(words_of(text)) for text in texts) / max(1, len(texts))
        for texts in (inside, outside)
    ]
    shown = sorted(words)
    name = "any of " + ", ".join(map(repr, shown[:8])) + (", ..." if len(shown) > 8 else "")
    return Candidate(name, False, shares[0] - shares[1], dropping(words), tuple(shown))


def _lifts(inside: Sequence[set[str]], outside: Sequence[set[str]]) -> list[tuple[str, float]]:
    """What sets of the one kind have more often than those of the other, the best first."""
    within = Counter(one for some in inside for one in some)
    beyond = Counter(one for some in outside for one in some)
    lifts = {one: n / len(inside) - beyond[one] / max(1, len(outside)) for one, n in within.items()}
    return sorted(lifts.items(), key=lambda pair: (-pair[1], pair[0]))[:50]


def words_of(text: str) -> set[str]:
    """Words in lower case, and pairs of them."""
    words = [word.casefold() for word in _WORD.findall(text)]
    return {*words, *(" ".join(pair) for pair in pairwise(words))}


def dropping(words: set[str]) -> Callable[[str], str]:
    """A prompt without some words, and without pairs of words."""
    single = {word for word in words if " " not in word}
    pairs = {tuple(word.split(" ")) for word in words if " " in word}

    def drop(text: str) -> str:
        found = list(_WORD.finditer(text))
        folded = [word[0].casefold() for word in found]
        gone = {i for i, word in enumerate(folded) if word in single}
        for i, pair in enumerate(pairwise(folded)):
            gone |= {i, i + 1} if pair in pairs else set()
        for i in sorted(gone, reverse=True):
            start, stop = found[i].span()
            start -= start > 0 and text[start - 1] == " "
            text = text[:start] + text[stop:]
        return text

    return drop


def undone(form: str) -> Callable[[str], str] | None:
    """What takes a form away; None where nothing does."""
    if "capital" in form:
        return str.lower
    if "U+" in form or form.startswith(("letters of", "a word of two scripts")):
        return _plain
    if any(name in form for name in ("space", "tab", "line break", "carriage return")):
        return _squeezed
    if form == "all of it said twice":
        return _half
    if "said twice" in form:
        return _said_once
    if form in ("begins with a letter", "ends with a letter", "ends with a digit"):
        return None  # nothing is there to be taken away
    if form.startswith("begins with"):
        return _without_beginning
    if form.startswith("ends with"):
        return _without_end
    if form.startswith("the character"):
        return _without_marks if form[-1].isascii() else _plain
    return None


def _without_marks(text: str) -> str:
    return _MARKS.sub("", text)


def _squeezed(text: str) -> str:
    lines = (_BLANKS.sub(" ", line).rstrip(" ") for line in _LINES.sub("\n", text).split("\n"))
    return "\n".join(lines).replace("\r", "")


def _without_beginning(text: str) -> str:
    return _BEGINNING.sub("", text)


def _without_end(text: str) -> str:
    stop = len(text)
    while stop and not text[stop - 1].isalnum():
        stop -= 1
    return text[:stop]


def _half(text: str) -> str:
    return text[: len(text) // 2].rstrip()


def _said_once(text: str) -> str:
    words = _WORD.findall(text)
    kept = [
        w
        for w, before in zip(words, ["", *words], strict=False)
        if w.casefold() != before.casefold()
    ]
    return " ".join(kept)


def _plain(text: str) -> str:
    """A text in NFKC, without characters of no width, and with the Latin twins of letters."""
    folded = unicodedata.normalize("NFKC", text)
    return "".join(_LATIN.get(c, c) for c in folded if unicodedata.category(c) != "Cf")
