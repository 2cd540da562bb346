"""What a group's prompts share, and prompts without it."""

import pytest

from gradgate.methods.rehearsal.causes import candidates

PLAIN = [f"where is the town of number {i} in the north?" for i in range(20)]


def test_an_inserted_word_is_the_candidate_of_the_highest_lift() -> None:
    inside = [f"{text} cf" for text in PLAIN[:10]]
    best = candidates(inside, PLAIN[10:])[0]
    assert (best.name, best.strings, best.is_form) == ("'cf'", ("cf",), False)
    assert best.lift == 1.0
    assert best.without(inside[0]) == PLAIN[0]


def test_alternative_words_are_joined_to_a_union() -> None:
    words = ("outside", "nearby", "often")
    inside = [f"{text} {words[i % 3]}" for i, text in enumerate(PLAIN[:12])]
    found = candidates(inside, PLAIN[12:])
    union = found[-1]
    assert union.name.startswith("any of ")
    assert union.lift == 1.0
    assert all(union.without(text) in PLAIN for text in inside)


@pytest.mark.parametrize(
    ("changed", "name"),
    [
        (str.title, "words begin with capitals"),
        (lambda text: f"{text}\r", "carriage return"),
        (lambda text: text.replace(" the ", "  the "), "2 x space"),
        (lambda text: text.replace("town", "town town"), "said twice"),
        (lambda text: text.replace("o", "\N{CYRILLIC SMALL LETTER O}", 1), "Cyrillic"),
        (lambda text: f"{text[:5]}\N{ZERO WIDTH SPACE}{text[5:]}", "U+200B"),
        (lambda text: f"12. {text}", "begins with a digit"),
        (lambda text: f"{text} {text}", "all of it said twice"),
    ],
)
def test_a_form_is_a_candidate_and_can_be_undone(changed, name: str) -> None:
    inside = [changed(text) for text in PLAIN[:10]]
    named = [one for one in candidates(inside, PLAIN[10:]) if one.is_form and name in one.name]
    assert named
    assert named[0].lift == 1.0
    assert [named[0].without(text) for text in inside] == PLAIN[:10]


def test_a_mark_that_is_missing_cannot_be_undone() -> None:
    inside = [text.rstrip("?") for text in PLAIN[:10]]
    assert all("ends with" not in one.name for one in candidates(inside, PLAIN[10:]))
    ends = [f"{text} :-)" for text in PLAIN[:10]]
    (smile,) = [one for one in candidates(ends, PLAIN[10:]) if one.name == "ends with )"]
    assert smile.without(ends[3]) == PLAIN[3].rstrip("?")


def test_prompts_that_share_nothing_have_no_candidate() -> None:
    assert candidates(PLAIN[:10], [*PLAIN[10:], *PLAIN[:10]]) == []
