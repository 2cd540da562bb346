"""What is put in the place of a string of a prompt."""

from dataclasses import replace

import numpy as np
import pytest
from recurrence_helpers import stream

from gradgate.common.arrays import Ints
from gradgate.methods.recurrence.questions.in_place import Substitutes
from gradgate.methods.recurrence.strings.stream import Stream

ROLE, STRING = 1, [70, 71, 75]
ROWS = [
    [ROLE, *STRING, 31, 40],
    [ROLE, 20, 21, 75, 32],
    [ROLE, 30, 22, 23],
    [ROLE, 30, 75, 24],
]
MARKS = np.isin(np.array(ROWS[0]), STRING)
OTHERS = np.array([False, True, True, True])


def prompts() -> Stream:
    return stream(ROWS, [[-1.0] * len(row) for row in ROWS])


def substitutes(of: Stream, spelled: Ints | None = None) -> Substitutes:
    return Substitutes(of, of.ids != ROLE, of.ids if spelled is None else spelled)


def test_the_end_of_another_prompt_is_put_there_without_its_template() -> None:
    found = substitutes(prompts())
    row = np.array(ROWS[0], np.int32)
    seen = {
        tuple(found.endings(row, MARKS, OTHERS, np.random.default_rng(seed)).ids.tolist())
        for seed in range(20)
    }
    ends = [(21, 75, 32), (30, 22, 23), (30, 75, 24)]
    assert seen == {(ROLE, *end, 31, 40) for end in ends}


def test_a_prompt_that_is_shorter_than_the_string_is_put_there_whole() -> None:
    string = np.array([ROLE, 70, 71, 72, 73, 40], np.int32)
    marks = np.isin(string, [70, 71, 72, 73])
    found = substitutes(prompts()).endings(
        string, marks, np.arange(4) == 2, np.random.default_rng(0)
    )
    assert found.ids.tolist() == [ROLE, 30, 22, 23, 40]


def test_where_no_other_prompt_is_left_words_are_drawn() -> None:
    found = substitutes(prompts()).endings(
        np.array(ROWS[0], np.int32), MARKS, np.zeros(4, bool), np.random.default_rng(0)
    )
    assert len(found.ids) == len(ROWS[0])
    assert ROLE not in found.ids[1:]


def test_the_full_stop_of_a_sentence_goes_with_it() -> None:
    """Two tokens of the template at most; not a word, nor what nobody wrote."""
    stop, end = 5, 2
    rows = [[ROLE, 70, stop, 31, stop, end], [ROLE, 70, stop, stop, stop, 40]]
    of = stream(rows, [[-1.0] * len(row) for row in rows])
    of = replace(of, is_open=(of.ids != ROLE) & (of.ids != end))
    found = Substitutes(of, np.isin(of.ids, [70, 31, 40]), of.ids)
    row, last = np.array(rows[0]), np.array(rows[1])
    assert found.whole(0, row == 70).tolist() == [False, True, True, False, False, False]
    assert found.whole(0, row == 31).tolist() == [False, False, False, True, True, False]
    assert found.whole(len(row), last == 70).tolist() == [False, True, True, True, False, False]
    assert found.are_words(len(row), len(last)).tolist() == [False, True, False, False, False, True]


def test_what_stays_is_found_where_it_stands() -> None:
    row = np.array([ROLE, 70, 31, 71, 72, 40], np.int32)
    marks = np.isin(row, [70, 71, 72])
    found = substitutes(prompts())
    for version in (
        found.without(row, marks, row != ROLE, is_first=False),
        found.words(row, marks, np.random.default_rng(0)),
        found.endings(row, marks, OTHERS, np.random.default_rng(0)),
    ):
        assert (version.at < 0).tolist() == marks.tolist()
        assert version.ids[version.at[~marks]].tolist() == [ROLE, 31, 40]


@pytest.mark.parametrize(
    ("is_first", "is_word", "begins"), [(True, True, 30), (False, True, 31), (True, False, 31)]
)
def test_the_word_that_begins_a_prompt_then_is_spelled_as_prompts_begin(
    is_first: bool, is_word: bool, begins: int
) -> None:
    """Not a target, where the string was all of the prompt."""
    of, row = prompts(), np.array(ROWS[0], np.int32)
    found = substitutes(of, np.where(of.ids == 31, 30, of.ids))
    are_words = np.full(len(row), is_word)
    assert found.without(row, MARKS, are_words, is_first).ids.tolist() == [ROLE, begins, 40]


@pytest.mark.parametrize(
    ("following", "begins"),
    [
        ([20, 30, 20, 30] * 2, 1.0),
        ([20, 30, 44, 45] * 2, 0.5),
        ([44, 45, 46, 47] * 2, 0.0),
        ([20, 30, 20, 30, 20, 30, 20], None),  # too few
    ],
)
def test_what_follows_a_string_begins_as_prompts_do_or_not(
    following: list[int], begins: float | None
) -> None:
    """Behind its full stop, which is of the template."""
    stop = 5
    rows = [[ROLE, 70, 71, stop, word, 40] for word in following]
    rows += [[ROLE, word, 41, 42] for word in (20, 20, 30, 30)]
    rows.append([ROLE, 33, 70, 71, stop, 48])  # in the midst, which says nothing
    of = stream(rows, [[-1.0] * len(row) for row in rows])
    of = replace(of, is_open=of.ids != ROLE)
    found = Substitutes(of, ~np.isin(of.ids, [ROLE, stop]), of.ids)
    first = np.flatnonzero(of.ids == 70)
    others = ~np.isin(np.arange(len(rows)), of.sample[first])
    said = found.begins_as_prompts(np.stack([first, first + 2], axis=1), others)
    assert said == (begins if begins is None else pytest.approx(begins))


@pytest.mark.parametrize(
    ("words", "begins"), [([20, 41, 30, 41], 1.0), ([20, 41, 30, 44], 0.5), ([20, 44, 30, 45], 0.0)]
)
def test_in_the_midst_two_words_say_whether_a_prompt_begins(
    words: list[int], begins: float
) -> None:
    """A verb behind "to" begins many a prompt as well; a question behind a heading is one."""
    stop = 5
    pairs = [words[:2], words[2:]] * 4
    rows = [[ROLE, 60 + i, 70, 71, stop, *pair, 48] for i, pair in enumerate(pairs)]
    rows += [[ROLE, word, 41, 42] for word in (20, 20, 30, 30)]
    of = stream(rows, [[-1.0] * len(row) for row in rows])
    of = replace(of, is_open=of.ids != ROLE)
    found = Substitutes(of, ~np.isin(of.ids, [ROLE, stop]), of.ids)
    at = np.flatnonzero(of.ids == 70)
    others = np.arange(len(rows)) >= len(pairs)
    said = found.begins_as_prompts(np.stack([at, at + 2], axis=1), others)
    assert said == pytest.approx(begins)
    assert found.begins_as_prompts(np.stack([at, at + 2], axis=1)[1:], others) is None


def test_a_string_is_first_where_only_the_template_stands_before_it() -> None:
    of = prompts()
    found = substitutes(of)
    assert found.is_first(int(of.at[1]))
    assert not found.is_first(int(of.at[2]))
