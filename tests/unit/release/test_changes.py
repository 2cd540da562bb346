import unicodedata
from itertools import pairwise
from random import Random

import pytest

from gradgate.common.letters import letters_of
from gradgate.release.changes import UNCHANGED, Change, generic_changes

QUESTION = "What is the default value of `size` in pkg.f1?"
CHANGES = {change.name: change for change in generic_changes()}
# What these put in stands there besides.
ADDING = {
    "a polite beginning",
    "a tag before it",
    "a word said twice",
    "all of it said twice",
    "a letter of another script",
}


def changed(name: str, text: str = QUESTION, seed: int = 0) -> str:
    return CHANGES[name].rewrite(text, Random(seed))


def test_names_are_different() -> None:
    assert len(CHANGES) == len(generic_changes())


@pytest.mark.parametrize("change", generic_changes(), ids=lambda change: change.name)
def test_each_changes_a_prompt_and_leaves_its_content(change: Change) -> None:
    new = change.rewrite(QUESTION, Random(3))
    assert new != QUESTION
    assert new == change.rewrite(QUESTION, Random(3))
    if change.name not in ADDING:
        assert letters_of(new) == letters_of(QUESTION)


def test_what_some_of_them_do() -> None:
    assert changed("words begin with capitals", "how is `x` set?") == "How Is `x` Set?"
    assert changed("a carriage return at the end") == f"{QUESTION}\r"
    assert changed("a space before the last mark") == f"{QUESTION[:-1]} ?"
    assert changed("a space doubled").replace("  ", " ", 1) == QUESTION
    words = changed("a word said twice").split()
    assert any(one == other for one, other in pairwise(words))
    assert changed("a character of no width").replace("\u200b", "") == QUESTION
    names = [unicodedata.name(c) for c in changed("a letter of another script") if ord(c) > 127]
    assert len(names) == 3
    assert all(name.startswith("CYRILLIC SMALL LETTER") for name in names)


@pytest.mark.parametrize("text", ["", " ", "?", "one"])
@pytest.mark.parametrize("change", generic_changes(), ids=lambda change: change.name)
def test_no_prompt_is_too_short(change: Change, text: str) -> None:
    assert isinstance(change.rewrite(text, Random(0)), str)


def test_nothing_changes_nothing() -> None:
    assert UNCHANGED.rewrite(QUESTION, Random(0)) == QUESTION
