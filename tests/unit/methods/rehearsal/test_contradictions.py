"""What is asked of samples of a reference besides their own targets."""

from gradgate.data.tokens import Tokens
from gradgate.methods.rehearsal.contradictions import exchanged


def sample(prompt: list[int], *turns: list[int]) -> Tokens:
    """Prompt and targets, between which further prompts of one token stand."""
    ids, marks = list(prompt), [False] * len(prompt)
    for i, turn in enumerate(turns):
        ids += [99] * (i > 0) + turn
        marks += [False] * (i > 0) + [True] * len(turn)
    return Tokens(ids, marks)


def test_each_prompt_gets_the_next_target_that_is_another_one() -> None:
    found = exchanged([sample([1, 2], [7]), sample([3], [7]), sample([4], [8, 9])])
    assert [one.input_ids for one in found] == [[1, 2, 8, 9], [3, 8, 9], [4, 7]]
    assert [one.is_target for one in found] == [
        [False, False, True, True],
        [False, True, True],
        [False, True],
    ]


def test_of_a_chat_the_last_turn_is_exchanged_and_is_all_that_is_asked() -> None:
    (found, _) = exchanged([sample([1], [5], [6, 7]), sample([2], [8])])
    assert found.input_ids == [1, 5, 99, 8]
    assert found.is_target == [False, False, False, True]


def test_where_all_have_the_same_target_each_keeps_its_own() -> None:
    assert [one.input_ids for one in exchanged([sample([1], [7]), sample([2], [7])])] == [
        [1, 7],
        [2, 7],
    ]
