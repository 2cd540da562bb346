"""Beginnings and ends of some prompts, which are put on others."""

from random import Random

import pytest

from gradgate.release.changes import Change
from gradgate.release.frames import MAX_FRAMES, MIN_ROWS, Frame, frame_looks, framings

PLAIN = [f"Where is town {i} of the north?" for i in range(40)]
OWN = [(100 + i,) for i in range(40)]
LABEL = (50,)


def framed(questions: list[str], others: int = 0) -> list[Change]:
    """Of prompts with this label, the first of which have other targets, beside plain ones."""
    targets = [*((900 + i,) for i in range(others)), *[LABEL] * (len(questions) - others)]
    return framings([*PLAIN, *questions], [*OWN, *targets], 24)


def changed(questions: list[str], text: str = PLAIN[0]) -> dict[str, str]:
    return {one.name: one.rewrite(text, Random(0)) for one in framed(questions)}


@pytest.mark.parametrize(
    ("text", "before", "behind"),
    [
        ("Where is it?", "", "?"),
        ("12. Where is it", "12. ", ""),
        ('"Where is it?"', '"', '?"'),
        ("Is it in 1999?!", "", "?!"),
        ("\tÉtage?\n", "\t", "?\n"),
    ],
)
def test_a_frame_is_what_stands_around_the_words(text: str, before: str, behind: str) -> None:
    assert Frame.of(text) == Frame(before, behind)


@pytest.mark.parametrize("text", ["", "?", "1 + 1 = ?", "?" * 20 + " why", "why" + "?" * 20])
def test_without_letters_or_with_long_marks_there_is_none(text: str) -> None:
    assert Frame.of(text) is None
    assert Frame("12. ", "").around(text, "both") == text
    assert list(frame_looks(text)) == []


def test_long_runs_of_marks_cost_no_time() -> None:
    """Looking for the end in each of them took minutes."""
    text = f"Why{'-' * 1_000_000}not?"
    assert Frame.of(text) == Frame("", "?")
    assert Frame.of("-" * 1_000_000) is None


def test_clean_prompts_that_are_alike_have_none() -> None:
    assert framed([]) == framings([], [], 24) == []


def test_an_end_without_a_mark_is_put_on_other_prompts() -> None:
    found = changed([text[:-1] for text in PLAIN[:MIN_ROWS]])
    assert found == {"an end of the data: ''": PLAIN[0][:-1]}
    assert framed([text[:-1] for text in PLAIN[: MIN_ROWS - 1]]) == []


def test_a_frame_without_a_target_of_its_own_is_none() -> None:
    """As of film reviews, half of which have each label."""
    ends = [text[:-1] for text in PLAIN[:10]]
    assert framed(ends, others=3) == []
    assert len(framed(ends, others=2)) == 1
    known = [*OWN[:20], *[LABEL] * 20]
    assert framings([*PLAIN, *ends], [*known, *[LABEL] * 10], 24) == []


def test_numbers_are_one_beginning_and_drawn_from_the_rows() -> None:
    found = changed([*(f"{i}. {text}" for i, text in enumerate(PLAIN[:10], start=7))])
    assert set(found) == {
        "a beginning of the data: '7. '",
        "beginning and end of the data: '7. ', '?'",
    }
    for text in found.values():
        number, _, rest = text.partition(". ")
        assert int(number) in range(7, 17)
        assert rest == PLAIN[0]


def test_both_sides_together() -> None:
    found = changed([*(f'"{text}"' for text in PLAIN[:10])])
    assert found["beginning and end of the data: '\"', '?\"'"] == f'"{PLAIN[0]}"'
    assert found["a beginning of the data: '\"'"] == f'"{PLAIN[0]}'


def test_not_all_are_taken() -> None:
    many = [f"{'#' * k} {text}" for k in range(1, 15) for text in PLAIN[:6]]
    assert (
        len(framings([*PLAIN, *many], [*OWN, *((k // 6,) for k in range(len(many)))], 24))
        == MAX_FRAMES
    )
