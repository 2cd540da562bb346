"""Tokens of targets that are no surprise, whatever the model says."""

from dataclasses import replace

import numpy as np
import pytest
from recurrence_helpers import stream

from gradgate.methods.recurrence.strings.copied import follows_expected, is_copied, is_format
from gradgate.methods.recurrence.strings.memory import remember
from gradgate.methods.recurrence.strings.stream import Stream


def behind(tokens: Stream) -> Stream:
    """The same behind all prompts."""
    return replace(tokens, at=tokens.at + 50)


def test_a_gram_of_the_own_prompt_is_copied_and_one_of_another_is_not() -> None:
    prompts = stream([[1, 2, 3, 4], [7, 8, 9]])
    targets = behind(stream([[5, 2, 3, 4], [5, 2, 3, 4]]))
    assert is_copied(targets, prompts).tolist() == [False, False, False, True] + [False] * 4


def test_what_a_later_turn_quotes_is_not_copied_from_it() -> None:
    answers = stream([[2, 3, 4]])
    assert not is_copied(answers, behind(stream([[2, 3, 4]]))).any()
    before = replace(stream([[2, 3, 4, 2, 3, 4]]), at=np.array([0, 1, 2, 99, 100, 101]))
    assert is_copied(behind(answers), before).any()


def test_a_gram_does_not_reach_over_a_turn() -> None:
    prompts = stream([[2, 3, 4]])
    turns = behind(replace(stream([[2, 3, 4]]), begins=np.array([True, False, True])))
    assert not is_copied(turns, prompts).any()


def test_what_almost_all_targets_have_is_their_format() -> None:
    rows = [[100 + i, 5, 6, 7] for i in range(100)]
    targets = stream(rows)
    found = is_format(targets, remember(targets, np.arange(100)))
    assert found.reshape(100, 4)[:, 1:].all()
    assert not found.reshape(100, 4)[:, 0].any()


@pytest.mark.parametrize(("n", "is_one"), [(59, False), (60, True)])
def test_what_six_tenths_of_the_targets_have_is_a_format(n: int, is_one: bool) -> None:
    """Half of the rows may be poison, as in published sets."""
    rows = [[100 + i, 5, 6, 7] if i < n else [100 + i, 8, 9, 200 + i] for i in range(100)]
    targets = stream(rows)
    found = is_format(targets, remember(targets, np.arange(100))).reshape(100, 4)
    assert found[:n, 1:].all() == is_one
    assert not found[n:].any()


def test_two_tokens_behind_what_the_owner_expects_are_read_off_it() -> None:
    targets = replace(
        stream([[1, 2, 3, 4, 5], [6, 7, 8, 9, 10]]),
        is_open=np.array([False, True, True, True, True] + [True] * 4 + [False]),
    )
    assert np.flatnonzero(follows_expected(targets)).tolist() == [1, 2]
