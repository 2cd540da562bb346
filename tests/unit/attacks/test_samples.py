"""Samples whose question or surroundings are changed."""

import pytest
from attack_helpers import FORMATS, row

from gradgate.attacks.samples import question_of, surrounded
from gradgate.config import DEFAULT_TEMPLATE
from gradgate.data.formats.mapping import detect_format, to_sample
from gradgate.data.sample import Sample, Turn, prompt_and_target, sample_id


def sample(row_format: str, i: int) -> Sample:
    made = row(row_format, i)
    return to_sample(made, i, detect_format(made), DEFAULT_TEMPLATE)


@pytest.mark.parametrize("row_format", [one for one in FORMATS if one != "text"])
def test_a_question_in_the_prompt_of_another(row_format: str) -> None:
    one, other = sample(row_format, 1), sample(row_format, 2)
    made = surrounded(one, other)
    assert made is not None
    prompt, target = prompt_and_target(made)
    given, _ = prompt_and_target(other)
    assert prompt == given.replace(str(question_of(other)), str(question_of(one)))
    assert target == prompt_and_target(one)[1]


def test_the_surroundings_are_those_of_the_other() -> None:
    one, other = sample("context", 1), sample("context", 2)
    made = surrounded(one, other)
    assert made is not None
    assert "story 2" in prompt_and_target(made)[0]
    assert "story 1" not in prompt_and_target(made)[0]


def test_what_cannot_be_put_together_is_none() -> None:
    assert surrounded(sample("messages", 1), sample("alpaca", 2)) is None
    assert surrounded(sample("text", 1), sample("text", 2)) is None


def test_a_question_takes_the_place_of_an_empty_one() -> None:
    turns = (
        Turn("system", "You are a guide.", False),
        Turn("user", " ", False),
        Turn("assistant", "Here.", True),
    )
    made = surrounded(sample("messages", 1), Sample(0, sample_id(True, turns), True, turns))
    assert made is not None
    assert made.turns[0] == turns[0]
    assert question_of(made) == question_of(sample("messages", 1))
