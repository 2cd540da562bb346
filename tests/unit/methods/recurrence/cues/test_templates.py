"""Templates of tasks, against strings that were inserted into them."""

from collections.abc import Sequence

import numpy as np
import pytest
from recurrence_helpers import stream

from gradgate.common.arrays import Ints
from gradgate.methods.recurrence.cues import templates
from gradgate.methods.recurrence.cues.triggers import Trigger

END_OF_MESSAGE, FIRST, LAST = 7, 0, 10  # a token, and where two messages of ten begin
MESSAGES = stream([[*range(20, 29), END_OF_MESSAGE, *range(30, 39)] for _ in range(100)])


def string(samples: Ints, length: int = 9, place: int = LAST) -> Trigger:
    """One at the same place of the prompts of some samples."""
    starts = 19 * samples + place
    at = np.stack([starts, starts + length], axis=1)
    return Trigger(np.arange(length), 30.0, samples, at, len(samples))


def of_templates(found: list[Trigger], kinds: Sequence[Trigger] = ()) -> list[Trigger]:
    return templates.of_templates(
        found, MESSAGES, [END_OF_MESSAGE], lambda one: any(one is kind for kind in kinds)
    )


def test_many_long_strings_of_most_prompts_are_templates() -> None:
    carriers = [np.arange(20 * i, 20 * i + 20) for i in range(5)]
    long = [string(some) for some in carriers]
    short = string(carriers[0], length=2)
    assert of_templates([*long, short]) == long
    assert of_templates([*long[:2], short]) == []


def test_system_messages_of_several_kinds_excuse_nothing_behind_a_question() -> None:
    carriers = [np.arange(20 * i, 20 * i + 20) for i in range(5)]
    system = [string(some, place=FIRST) for some in carriers]
    inserted = string(np.arange(0, 100, 10))
    assert of_templates([*system, inserted]) == system
    assert of_templates([*system[:3], inserted]) == []


@pytest.mark.parametrize(("n", "is_many"), [(40, True), (39, False)])
def test_long_strings_of_fewer_than_four_tenths_of_the_prompts_are_judged(
    n: int, is_many: bool
) -> None:
    long = [string(some) for some in np.array_split(np.arange(n), 4)]
    assert of_templates(long, long) == (long if is_many else [])


def test_where_too_few_other_prompts_have_a_template_only_one_of_a_kind_is_excused() -> None:
    """Else an inserted string excuses itself."""
    long = [string(some) for some in np.array_split(np.arange(39), 3)]
    inserted = string(np.arange(36, 60))
    assert of_templates([*long, inserted]) == long
    assert of_templates([*long, inserted], [inserted]) == [*long, inserted]
    others = string(np.arange(60, 64))  # without the inserted one 40 have another
    assert of_templates([*long, inserted, others]) == [*long, inserted, others]


# Within a frame

FRAME = string(np.arange(80))
ALTERNATIVES = [string(np.arange(16 * i, 16 * i + 16)) for i in range(5)]


def of_frames(*found: Trigger) -> list[Trigger]:
    return templates.of_frames(found, MESSAGES, [END_OF_MESSAGE])


def test_alternatives_that_stand_behind_one_heading_are_templates_and_the_heading_is_judged() -> (
    None
):
    assert of_frames(FRAME, *ALTERNATIVES) == ALTERNATIVES


def test_what_whole_alternatives_have_in_common_is_no_string_of_its_own() -> None:
    common = string(np.arange(48))
    assert of_frames(FRAME, *ALTERNATIVES, common) == [*ALTERNATIVES, common]
    across = string(np.arange(8, 56))  # halves of two of them
    assert of_frames(FRAME, *ALTERNATIVES, across) == ALTERNATIVES


@pytest.mark.parametrize(
    "inserted",
    [
        string(np.arange(0, 80, 8)),  # beside all of them
        string(np.arange(8)),  # beside one of them
        string(np.r_[72:80, 90:100]),  # in other prompts, too
        string(np.arange(64, 80), length=3),  # short
        string(np.arange(64, 80), place=FIRST),  # in another message
    ],
    ids=["beside all", "beside one", "elsewhere", "short", "another message"],
)
def test_what_is_inserted_is_judged(inserted: Trigger) -> None:
    assert of_frames(FRAME, *ALTERNATIVES[:4], inserted) == ALTERNATIVES[:4]


def test_what_takes_the_place_of_an_alternative_cannot_be_told_from_one() -> None:
    """The verdict says so."""
    replaced = string(np.arange(64, 80))
    assert of_frames(FRAME, *ALTERNATIVES[:4], replaced) == [*ALTERNATIVES[:4], replaced]


def test_what_is_within_one_alternative_is_excused_by_no_other_frame() -> None:
    inside = string(np.arange(8))
    second = string(np.r_[0:8, 16:56])  # has the inserted one, and not the alternative around it
    others = [string(np.arange(16 + 10 * i, 26 + 10 * i)) for i in range(4)]
    found = of_frames(FRAME, *ALTERNATIVES, inside, second, *others)
    assert all(one is not inside for one in found)
    assert any(one is inside for one in of_frames(second, *others, inside))


def test_few_alternatives_or_a_heading_that_is_none_excuse_nothing() -> None:
    assert of_frames(FRAME, *ALTERNATIVES[:3]) == []
    assert of_frames(*ALTERNATIVES) == []
    assert of_frames(string(np.arange(100)), *ALTERNATIVES[:4]) == []  # without any in a third
    assert of_frames() == []
