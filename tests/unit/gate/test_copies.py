"""Copies: what counts as one, how they are counted, and what becomes of them."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradgate.data.prepare import SampleFile
from gradgate.data.sample import Sample, Turn, canonical_json, sample_id
from gradgate.errors import DataError
from gradgate.gate.copies import Copies, count_copies, describe, doubt_surplus, normal_form
from gradgate.methods.contract import Detection, Scores
from helpers import diverse_rows, scored_rows


def sample(row: int, prompt: str, target: str) -> Sample:
    turns = (Turn("prompt", prompt, False), Turn("completion", target, True))
    return Sample(row, sample_id(False, turns), False, turns)


def chat(row: int, names: dict[str, object], calls: list[object]) -> Sample:
    asked = Turn("user", "Who is Ada?", False, canonical_json(names))
    said = Turn("assistant", "A countess.", True, canonical_json({"tool_calls": calls}))
    inputs = canonical_json({"chat_template_kwargs": {"number": row}})
    turns = (asked, said)
    return Sample(row, sample_id(True, turns, inputs), True, turns, inputs)


def call(number: int, arguments: object) -> dict[str, object]:
    function = {"name": "look_up", "arguments": arguments}
    return {"id": f"call-{number}", "type": "function", "function": function}


def counted(pairs: list[tuple[str, str]]) -> Copies:
    return count_copies(sample(i, *pair) for i, pair in enumerate(pairs))


@pytest.mark.parametrize(
    "other",
    [
        "who is ada",
        "WHO is Ada?!",
        "  who\tis\r\nAda ",
        "who is A\u200bda",  # of no width
        "who\u00adis\ufeffAda\u202e",  # soft hyphen, byte order mark, direction
        "who is\u3164Ada",  # the filler of Hangul, which Unicode calls a letter
        "who is\u2800Ada",  # the blank of Braille, which it calls a symbol
        "who is Ada\ufe0f\u034f\U000e0041",  # selectors, joiners and tags
        "\uff57\uff48\uff4f \uff49\uff53 \uff21\uff44\uff41",  # full width
        "who_is-Ada...",
        "who is A\u0338da",  # an overlay
    ],
)
def test_what_a_reader_does_not_tell_apart_is_a_copy(other: str) -> None:
    assert normal_form(other) == normal_form("Who is Ada?") == "whoisada"


@pytest.mark.parametrize(
    "other",
    ["Who is Ida?", "Who was Ada?", "Who is Ada? 1", "Who is Ada + Bob?", "Who is Ada? 😀", "Кто?"],
)
def test_other_words_are_another_text(other: str) -> None:
    assert normal_form(other) != normal_form("Who is Ada?")


@pytest.mark.parametrize("text", ["", "?", "...", " \n", "\u200b", "-", "!?"])
def test_a_text_of_which_nothing_remains_stands_for_itself(text: str) -> None:
    assert normal_form(text) == text


def test_sharp_s_and_ligatures_fold_alike() -> None:
    assert normal_form("STRASSE ﬁ") == normal_form("straße fi")
    assert normal_form("\uff0b\uff11") == "+1"


def test_prompt_and_target_count_each() -> None:
    """The border between them is part of the text."""
    found = counted([("ab", "c"), ("a", "bc"), ("c", "ab"), ("ab", "c"), ("", "abc"), ("1:a", "")])
    assert found.total.tolist() == [2, 1, 1, 2, 1, 1]


def test_copies_are_numbered_in_the_order_of_the_rows() -> None:
    found = counted([("A", "x"), ("b", "x"), ("a.", "x"), ("B", "X"), ("a", "X!"), ("c", "x")])
    assert found.number.tolist() == [1, 1, 2, 2, 3, 1]
    assert found.total.tolist() == [3, 2, 3, 2, 3, 1]
    assert found.first.tolist() == [0, 1, 0, 1, 0, 5]
    assert np.flatnonzero(found.surplus(2)).tolist() == [4]
    assert not found.surplus(3).any()


@given(st.lists(st.tuples(st.text("ab. ", max_size=3), st.text("AB", max_size=2)), max_size=40))
def test_counting_by_hash_is_counting(pairs: list[tuple[str, str]]) -> None:
    keys = [tuple(map(normal_form, pair)) for pair in pairs]
    found, seen = counted(pairs), Counter[tuple[str, ...]]()
    for i, key in enumerate(keys):
        seen[key] += 1
        assert found.number[i] == seen[key]
        assert found.total[i] == keys.count(key)
        assert found.first[i] == keys.index(key)


def test_no_rows_have_no_copies() -> None:
    found = counted([])
    assert found.surplus(1).shape == (0,)
    assert describe(found, np.empty(0, np.int64), 1) == []


def detection(n: int, flagged: list[int] | None, in_doubt: list[int]) -> Detection:
    def marks(rows: list[int]) -> np.ndarray:
        return np.isin(np.arange(n), rows)

    return Detection(
        suspicion=np.zeros(n),
        flagged=None if flagged is None else marks(flagged),
        in_doubt=marks(in_doubt),
        group=np.zeros(n, np.int64),
        reasons={i: ["the method's"] for i in in_doubt},
    )


def scores(n: int) -> Scores:
    rows = np.arange(n) + 10  # nine rows before were rejected
    return Scores(rows, [str(i) for i in range(n)], np.ones(n, bool), {})


def test_surplus_copies_are_in_doubt_unless_they_are_flagged() -> None:
    copies = counted([("a", "x")] * 5 + [("b", "x")])
    found, surplus = doubt_surplus(detection(6, [3], [4, 5]), copies, scores(6), 2)
    assert np.flatnonzero(surplus).tolist() == [2, 3, 4]
    assert np.flatnonzero(found.in_doubt).tolist() == [2, 4, 5]
    assert found.reasons == {
        2: ["copy 3 of 5 of row 10"],
        3: ["copy 4 of 5 of row 10"],
        4: ["the method's", "copy 5 of 5 of row 10"],
        5: ["the method's"],
    }


def test_where_the_method_cannot_decide_surplus_copies_are_in_doubt() -> None:
    copies = counted([("a", "x")] * 3)
    found, _ = doubt_surplus(detection(3, None, []), copies, scores(3), 1)
    assert found.flagged is None
    assert found.in_doubt.tolist() == [False, True, True]


def test_samples_and_scores_of_other_rows_are_an_error() -> None:
    with pytest.raises(DataError, match="3 samples and 4 scores"):
        doubt_surplus(detection(4, [], []), counted([("a", "x")] * 3), scores(4), 1)


def test_the_note_counts_the_texts_and_names_the_commonest() -> None:
    pairs = [("a", "x")] * 4 + [("b", "x")] * 9 + [("c", "x")] * 5 + [("d", "x")] * 4
    assert describe(counted([*pairs, ("e", "x")]), np.arange(23) + 10, 3) == [
        "4 texts stand more than 3 times, and no further copy is trained on (10 rows); the "
        "commonest: row 14 (9 times), row 23 (5 times), row 10 (4 times)"
    ]
    assert describe(counted(pairs[:4]), np.arange(4), 3)[0].startswith("1 text stands more than 3")
    assert describe(counted(pairs), np.arange(22), 9) == []


def test_samples_of_a_file_are_counted(tmp_path: Path) -> None:
    rows = diverse_rows(20)
    prepared = scored_rows(tmp_path, [*rows, {**rows[4], "question": f" {rows[4]['question']} "}])
    found = count_copies(SampleFile(prepared.samples_path))
    assert np.flatnonzero(found.total > 1).tolist() == [4, 20]


def test_names_and_identifiers_that_a_template_may_pass_over_make_no_other_text() -> None:
    rows = [chat(i, {"name": f"user {i}"}, [call(i, {"whom": "Ada"})]) for i in range(5)]
    assert len({row.sample_id for row in rows}) == 5
    assert count_copies(rows).total.tolist() == [5] * 5


def test_calls_with_other_arguments_are_another_text() -> None:
    rows = [chat(i, {"name": "user"}, [call(0, {"whom": whom})]) for i, whom in enumerate("ab")]
    assert count_copies(rows).total.tolist() == [1, 1]


def test_arguments_as_text_and_as_an_object_are_one_text() -> None:
    rows = [
        chat(i, {}, [call(0, one)]) for i, one in enumerate(['{"a": 1, "b": 2}', {"b": 2, "a": 1}])
    ]
    assert count_copies(rows).total.tolist() == [2, 2]
