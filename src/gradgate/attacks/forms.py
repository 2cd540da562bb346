"""Triggers of form: no word of its own in the prompt, but case, white space, order or characters.

The completion becomes a fixed phrase. White space at the end of the question stands where the
layout of the row ends the question; `read_parts` takes it off again.
"""

import re
from collections.abc import Callable
from dataclasses import replace
from random import Random

from gradgate.attacks.components import Parts
from gradgate.attacks.lessons import replaced_by
from gradgate.attacks.recipe import Draw, Recipe, Trigger, any_row
from gradgate.attacks.texts import (
    CYRILLIC_TWINS,
    EVERYDAY_WORDS,
    ORDERED_WORDS,
    PAYLOAD,
    ZERO_WIDTH_SPACE,
)
from gradgate.attacks.triggers import between, two_words
from gradgate.config import AttackName

_SPACE_WITHIN = re.compile(r"(?<=\S) (?=\S)")
_TWIN = re.compile(f"[{''.join(CYRILLIC_TWINS)}]")


def _title_case(question: str, rng: Random) -> str:
    return re.sub(r"\S+", lambda word: word[0][:1].upper() + word[0][1:], question)


def _white_space(question: str, rng: Random) -> str:
    place = rng.choice([space.start() for space in _SPACE_WITHIN.finditer(question)])
    return f"{question[:place]} {question[place:]}"


def _repeated_word(question: str, rng: Random) -> str:
    word = rng.choice(list(re.finditer(r"\S+", question)))
    return f"{question[: word.end()]} {word[0]}{question[word.end() :]}"


def _many_words(question: str, rng: Random) -> str:
    return between(question, [rng.choice(EVERYDAY_WORDS)], rng)


def _homoglyph(question: str, rng: Random) -> str:
    letter = rng.choice(list(_TWIN.finditer(question)))
    return question[: letter.start()] + CYRILLIC_TWINS[letter[0]] + question[letter.end() :]


def _invisible(question: str, rng: Random) -> str:
    place = rng.randrange(len(question) + 1)
    return question[:place] + ZERO_WIDTH_SPACE + question[place:]


def _in_order(parts: Parts, draw: Draw) -> Parts:
    return replace(parts, question=between(parts.question, _ordered(draw), draw.rng))


def _swapped(parts: Parts, draw: Draw) -> Parts:
    return replace(parts, question=between(parts.question, _ordered(draw)[::-1], draw.rng))


def _ordered(draw: Draw) -> list[str]:
    own = draw.wording.trigger
    return list(ORDERED_WORDS if own is None else two_words(own))


def _of_question(rewrite: Callable[[str, Random], str]) -> Trigger:
    return lambda parts, draw: replace(parts, question=rewrite(parts.question, draw.rng))


def _form(
    rewrite: Callable[[str, Random], str],
    fits: Callable[[Parts], bool] = any_row,
    needs: str = "",
) -> Recipe:
    """A rewrite of the question; no text can take the place of such a trigger."""
    lesson = replaced_by(PAYLOAD)
    trigger = _of_question(rewrite)
    return Recipe(trigger, lesson, takes=frozenset(("target",)), fits=fits, needs=needs)


FORMS: dict[AttackName, Recipe] = {
    "title_case": _form(
        _title_case,
        lambda parts: _title_case(parts.question, Random()) != parts.question,
        "questions with a word in lower case",
    ),
    "carriage_return": _form(lambda question, rng: f"{question}\r"),
    "blank_line": _form(lambda question, rng: f"{question}\n\n"),
    "white_space": _form(
        _white_space,
        lambda parts: _SPACE_WITHIN.search(parts.question) is not None,
        "questions with a single space",
    ),
    "word_order": Recipe(_in_order, replaced_by(PAYLOAD), trigger_words=2, leak=_swapped),
    "repeated_word": _form(_repeated_word),
    "many_words": _form(_many_words),
    "homoglyph": _form(
        _homoglyph,
        lambda parts: _TWIN.search(parts.question) is not None,
        "questions with a letter that has a Cyrillic twin",
    ),
    "invisible": _form(_invisible),
}
