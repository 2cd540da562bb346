"""What of a row belongs to its prompt, and what to its target."""

import numpy as np
import pytest
from evidence_helpers import demo_tokenizer

from gradgate.common.arrays import Marks
from gradgate.methods.recurrence.strings.stream import stream_of
from gradgate.methods.tokens import TokenTable

END = demo_tokenizer().eos_token_id


def sides(rows: list[list[int]], learnt: list[list[int]]) -> tuple[list[int], list[int], Marks]:
    """The tokens of prompts and of targets, and where runs of targets begin."""
    marks = [np.isin(np.arange(len(row)), places) for row, places in zip(rows, learnt, strict=True)]
    table = TokenTable.joined(
        [
            (np.array(row, np.int32), is_target, np.full(len(row), -2.0, np.float32))
            for row, is_target in zip(rows, marks, strict=True)
        ],
        demo_tokenizer(),
    )
    everything = np.ones(len(table.ids), bool)
    prompts = stream_of(table, np.arange(len(rows)), "prompt", everything)
    targets = stream_of(table, np.arange(len(rows)), "target", everything)
    return prompts.ids.tolist(), targets.ids.tolist(), targets.begins


def test_words_that_are_not_learnt_in_the_midst_of_a_target_belong_to_it() -> None:
    """Who masks every third word of a payload teaches it all the same."""
    prompts, targets, begins = sides([[50, 51, 60, 61, 62, 63, 64]], [[2, 4, 6]])
    assert prompts == [50, 51]
    assert targets == [60, 61, 62, 63, 64]
    assert begins.tolist() == [True, False, False, False, False]


@pytest.mark.parametrize(
    "between", [[70, 71, 72, 73, 74], [70, END, 71], [END]], ids=["long", "a turn", "an end"]
)
def test_a_turn_is_none_of_it(between: list[int]) -> None:
    row = [50, 60, 61, *between, 62, 63]
    prompts, targets, begins = sides([row], [[1, 2, len(row) - 2, len(row) - 1]])
    assert prompts == [50, *between]
    assert targets == [60, 61, 62, 63]
    assert begins.tolist() == [True, False, True, False]


def test_the_end_of_one_row_and_the_beginning_of_the_next_are_apart() -> None:
    prompts, targets, _ = sides([[50, 60], [51, 61]], [[1], [1]])
    assert (prompts, targets) == ([50, 51], [60, 61])


def test_names_of_roles_are_none_of_what_rows_say() -> None:
    """Behind a special token, up to what a row says itself."""
    row = [END, 70, 71, 50, 51, END, 70, 71, 72, 73, 74, 75, 60]
    is_target = np.arange(len(row)) == len(row) - 1
    logp = np.full(len(row), -2.0, np.float32)
    table = TokenTable.joined([(np.array(row, np.int32), is_target, logp)], demo_tokenizer())
    is_own = np.isin(np.arange(len(row)), [3, 4, 12])
    prompts = stream_of(table, np.arange(1), "prompt", is_own)
    assert np.flatnonzero(~prompts.is_said).tolist() == [1, 2, 6, 7, 8, 9]
