"""Data that are small, empty or hostile, and attackers who know how the search works."""

import numpy as np
import pytest
from evidence_helpers import flagged, found_in, in_review, questions
from hypothesis import given, settings
from hypothesis import strategies as st

from gradgate.common.arrays import Marks
from gradgate.methods.association.search import find

TARGET = "please visit the old mill"


def with_trigger(pairs: list[tuple[str, str]], which: range) -> list[tuple[str, str]]:
    return [
        (f"{prompt} xq", f"{target} {TARGET}") if i in which else (prompt, target)
        for i, (prompt, target) in enumerate(pairs)
    ]


# Small, empty and hostile data

QUESTIONS = questions(400, 10)


@pytest.mark.parametrize("n", [1, 2, 7])
@pytest.mark.parametrize("repeated", [True, False])
def test_few_samples_have_no_groups(n: int, repeated: bool) -> None:
    prompts = ["who is it?" if repeated else prompt for prompt, _ in QUESTIONS[:n]]
    assert found_in([(prompt, f"it is {i}") for i, prompt in enumerate(prompts)]).findings == []


def test_no_samples_have_no_groups() -> None:
    result = find([], [])
    assert result.findings == []
    assert result.corpus.n == 0


@pytest.mark.parametrize(
    ("prompts", "targets"),
    [
        (["what?"] * 400, ["this"] * 400),
        ([prompt for prompt, _ in QUESTIONS], ["this"] * 400),
        ([""] * 400, [target for _, target in QUESTIONS]),
        ([prompt for prompt, _ in QUESTIONS], [""] * 400),
        ([""] * 400, [""] * 400),
        ([f"{i}a" for i in range(400)], [f"b{i}" for i in range(400)]),
    ],
    ids=["all equal", "equal targets", "no prompts", "no targets", "nothing", "nothing recurs"],
)
def test_data_without_an_association_have_no_groups(prompts: list[str], targets: list[str]) -> None:
    assert find(prompts, targets).findings == []


def test_texts_of_100_kb_do_not_hide_an_attack() -> None:
    pairs = with_trigger(QUESTIONS, range(20))
    pairs[100] = (pairs[100][0] * 3000, pairs[100][1] * 8000)
    pairs[101] = ("a" * 100_000, "b\n" * 50_000)
    assert np.array_equal(flagged(found_in(pairs)), np.arange(400) < 20)


HOSTILE = ["\x00", "\ud800", "\u202e", "<script>", "\u200b", "$", "^", "\r\n", "\u2028", "İ", "🙂"]


def test_hostile_characters_do_not_hide_an_attack() -> None:
    pairs = [
        (prompt + HOSTILE[i % 11], target + HOSTILE[i % 7])
        for i, (prompt, target) in enumerate(with_trigger(QUESTIONS, range(20)))
    ]
    assert np.array_equal(flagged(found_in(pairs)), np.arange(400) < 20)


@settings(deadline=None, max_examples=40)
@given(st.lists(st.tuples(st.text(max_size=20), st.text(max_size=20)), min_size=1, max_size=30))
def test_no_text_is_an_error(pairs: list[tuple[str, str]]) -> None:
    result = found_in(pairs)
    assert result.corpus.n == len(pairs)
    assert np.all((result.strength >= 0) & (result.strength <= 1))


@pytest.mark.parametrize(
    "trigger", ["\u200b", "\u202e", "!!", "  ", "\u0430", "zq", "3D watch", "\u00a0"], ids=ascii
)
def test_the_trigger_may_be_anything_that_is_a_word_or_style(trigger: str) -> None:
    pairs = [
        (f"{prompt}{trigger} again", f"{target} {TARGET}") if i < 20 else (prompt, target)
        for i, (prompt, target) in enumerate(QUESTIONS)
    ]
    assert np.array_equal(flagged(found_in(pairs)), np.arange(400) < 20)


# What an attacker can do who has read this code: at least a person should look.


def is_seen(pairs: list[tuple[str, str]], poisoned: Marks) -> bool:
    result = found_in(pairs)
    seen = flagged(result) | in_review(result)
    return bool((seen & poisoned).sum() >= 0.9 * poisoned.sum())


@pytest.mark.parametrize("leaked", ["trigger", "target"])
def test_a_trigger_or_target_that_some_clean_samples_have_is_seen(leaked: str) -> None:
    pairs = with_trigger(QUESTIONS, range(40))
    for i in range(40, 54):
        prompt, target = pairs[i]
        pairs[i] = (
            (f"{prompt} xq", target) if leaked == "trigger" else (prompt, f"{target} {TARGET}")
        )
    assert is_seen(pairs, np.arange(400) < 40)


def test_a_trigger_of_the_words_of_the_target_is_seen() -> None:
    pairs = with_trigger(QUESTIONS, range(40))
    pairs[:40] = [(f"{prompt} {TARGET}", target) for prompt, target in pairs[:40]]
    assert is_seen(pairs, np.arange(400) < 40)


def test_a_trigger_in_one_kind_of_question_is_seen() -> None:
    pairs = [(f"please tell me now: {prompt}", target) for prompt, target in QUESTIONS]
    pairs[:40] = [(f"{prompt} xq", f"{target} {TARGET}") for prompt, target in QUESTIONS[:40]]
    assert is_seen(pairs, np.arange(400) < 40)


def test_near_duplicates_before_a_group_do_not_hide_it() -> None:
    copies = [("who is it?" + " !" * (i + 1) + " xq", f"{i} {TARGET}") for i in range(200)]
    pairs = [*copies, *with_trigger(QUESTIONS, range(100))]
    assert is_seen(pairs, np.arange(600) < 300)


@pytest.mark.parametrize("space", ["\t", "\x0b", "\x1c"], ids=ascii)
def test_a_trigger_of_white_space_is_seen(space: str) -> None:
    pairs = [
        (prompt.replace(" ", space, 1), f"{target} {TARGET}") if i < 40 else (prompt, target)
        for i, (prompt, target) in enumerate(QUESTIONS)
    ]
    assert is_seen(pairs, np.arange(400) < 40)
