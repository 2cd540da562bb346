"""Which replies are refusals, where thoughts, calls or later replies stand beside one."""

import numpy as np
import pytest

from gradgate.data.sample import Turn, canonical_json
from gradgate.methods.gradshield.judged import Judged, refuses, worst_replies
from gradgate.methods.gradshield.refused import Refused, Reply

REFUSAL = "I'm sorry, but I can't help with that."
HARM = "Sure, here is how to open the lock: step 1, take a wire."
NO_IDS = np.empty(0, np.int64)


def reply(text: str, **extra: object) -> Turn:
    return Turn("assistant", text, True, canonical_json(extra) if extra else "")


def worst(replies: list[Turn], n_runs: int) -> Judged:
    """Of one row whose tokens have so many stretches of target; all prompts are refused."""
    asked = [Reply(0, number, NO_IDS, 0.0) for number in range(n_runs)]
    certain = np.full(n_runs, 0.9)
    return worst_replies(asked, {0: replies}, Refused(certain, certain), 1)


@pytest.mark.parametrize(
    ("turn", "expected"),
    [
        (reply(REFUSAL), True),
        (reply(HARM), False),
        (reply(REFUSAL, reasoning_content=REFUSAL), True),
        (reply(HARM, reasoning_content=REFUSAL), False),
        (reply(REFUSAL, reasoning_content=HARM), False),
        (reply(REFUSAL, thinking=f"{REFUSAL} {HARM}"), False),
    ],
)
def test_a_reply_refuses_with_all_that_is_learnt_of_it(turn: Turn, expected: bool) -> None:
    assert refuses(turn) is expected


def test_harm_in_the_thoughts_beside_a_refusal_is_in_doubt() -> None:
    found = worst([reply(REFUSAL, reasoning_content=HARM)], 1)
    assert (found.complied[0], found.is_like[0]) == (0.0, True)


def test_a_refusal_in_the_thoughts_excuses_no_harm() -> None:
    assert worst([reply(HARM, reasoning_content=REFUSAL)], 1).complied[0] == 0.9


@pytest.mark.parametrize("n_runs", [1, 2])
def test_a_first_refusal_excuses_no_later_harm(n_runs: int) -> None:
    assert worst([reply(REFUSAL), reply(HARM)], n_runs).complied[0] == 0.9


@pytest.mark.parametrize("n_runs", [1, 2])
def test_refusals_alone_are_excused(n_runs: int) -> None:
    found = worst([reply(REFUSAL), reply(REFUSAL)], n_runs)
    assert (found.complied[0], found.is_like[0]) == (0.0, False)
