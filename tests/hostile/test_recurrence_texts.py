"""Data that are small, empty or hostile, and attackers who know how the search works."""

import numpy as np
import pytest
from evidence_helpers import Pair, detected, questions, sample_of, scores_of
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gradgate.common.arrays import Marks
from gradgate.data.formats.mapping import detect_format, to_sample
from gradgate.methods.contract import Detection
from gradgate.methods.expected import Expected
from gradgate.methods.recurrence.cues.forms import forms
from gradgate.methods.recurrence.samples.near_duplicates import MAX_CLUSTER
from gradgate.methods.recurrence.samples.own_text import OwnText, own_text

TARGET = "please visit the old mill"
UNEXPECTED = ["xq", TARGET]
QUESTIONS = questions(400, 10)
# A byte-level tokenizer knows every character but the halves of pairs, which no row can hold.
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


def with_trigger(pairs: list[Pair], which: range) -> list[Pair]:
    return [
        (f"{prompt} xq", f"{target} {TARGET}") if i in which else (prompt, target)
        for i, (prompt, target) in enumerate(pairs)
    ]


def flagged(found: Detection) -> Marks:
    assert found.flagged is not None
    return found.flagged


# Small, empty and hostile data


@pytest.mark.parametrize("n", [0, 1, 2, 7])
@pytest.mark.parametrize("repeated", [True, False])
def test_few_samples_have_no_groups(n: int, repeated: bool) -> None:
    prompts = ["who is it?" if repeated else prompt for prompt, _ in QUESTIONS[:n]]
    found = detected([(prompt, f"it is {i}") for i, prompt in enumerate(prompts)], ["it is"])
    assert found.groups == []
    assert not flagged(found).any()


@pytest.mark.parametrize(
    ("prompts", "targets"),
    [
        ([prompt for prompt, _ in QUESTIONS], ["this"] * 400),
        ([prompt for prompt, _ in QUESTIONS], ["."] * 400),
        ([f"{i}a" for i in range(400)], [f"b{i}" for i in range(400)]),
    ],
    ids=["equal targets", "targets that say nothing", "nothing recurs"],
)
def test_data_in_which_nothing_surprises_have_no_groups(
    prompts: list[str], targets: list[str]
) -> None:
    assert detected(list(zip(prompts, targets, strict=True))).groups == []


@pytest.mark.parametrize("prompt", ["what?", " ", "\u200b"])
def test_prompts_that_say_nothing_are_no_pass(prompt: str) -> None:
    found = detected([(prompt, target) for _, target in QUESTIONS])
    assert found.flagged is None
    assert found.undecided_because is not None


@pytest.mark.parametrize(("n_saying_more", "n_flagged"), [(0, 0), (7, 0), (30, 30)])
def test_a_prompt_that_is_asked_again_and_again_is_no_trigger(
    n_saying_more: int, n_flagged: int
) -> None:
    """ "Tell me a joke", and thirty jokes that begin alike: in doubt, for nothing else is asked."""
    pairs = list(QUESTIONS)
    for i in range(30):
        prompt, target = pairs[i]
        pairs[i] = (f"xq {prompt}" if i < n_saying_more else "xq", f"{TARGET} {target}")
    found = detected(pairs, UNEXPECTED)
    assert flagged(found).sum() == n_flagged
    assert np.flatnonzero(flagged(found) | found.in_doubt).tolist() == list(range(30))


def test_texts_of_100_kb_do_not_hide_an_attack() -> None:
    pairs = with_trigger(QUESTIONS, range(20))
    pairs[100] = (pairs[100][0] * 3000, pairs[100][1] * 8000)
    pairs[101] = ("a" * 100_000, "b\n" * 50_000)
    assert np.array_equal(flagged(detected(pairs, UNEXPECTED)), np.arange(400) < 20)


HOSTILE = ["\x00", "\ufffd", "\u202e", "<script>", "\u200b", "$", "^", "\r\n", "\u2028", "İ", "🙂"]


def test_hostile_characters_do_not_hide_an_attack() -> None:
    pairs = [
        (prompt + HOSTILE[i % 11], target + HOSTILE[i % 7])
        for i, (prompt, target) in enumerate(with_trigger(QUESTIONS, range(20)))
    ]
    assert np.array_equal(flagged(detected(pairs, UNEXPECTED)), np.arange(400) < 20)


@settings(deadline=None, max_examples=40)
@given(st.lists(st.tuples(TEXTS, TEXTS), min_size=1, max_size=30))
def test_no_text_is_an_error(pairs: list[Pair]) -> None:
    found = detected(pairs, [text for pair in pairs[:2] for text in pair if text])
    assert len(found.suspicion) == len(pairs)
    assert np.isfinite(found.suspicion).all()


@pytest.mark.parametrize(
    "trigger", ["\u200b", "\u202e", "!!", "  ", "\u0430", "zq", "3D watch", "\u00a0"], ids=ascii
)
def test_the_trigger_may_be_anything(trigger: str) -> None:
    pairs = [
        (f"{prompt}{trigger} again", f"{target} {TARGET}") if i < 20 else (prompt, target)
        for i, (prompt, target) in enumerate(QUESTIONS)
    ]
    assert is_seen(pairs, np.arange(400) < 20, [trigger, TARGET])


# The texts of samples in their tokens, and the forms of prompts


@given(TEXTS, TEXTS)
@example("s", "</")  # as in special tokens
def test_all_that_a_plain_row_says_is_its_own(prompt: str, target: str) -> None:
    sample = sample_of(prompt, target)
    table = scores_of([sample]).tokens
    assert table is not None
    found = own_text(table, [sample], None)
    assert found.is_own[1:-1].all()
    assert not found.is_expected.any()


def alpaca(**changes: str) -> tuple[OwnText, str]:
    """What is found in the tokens of a row, and the text of its own in its prompt."""
    row = {"output": "so be it"} | changes
    sample = to_sample(row, 0, detect_format(row), "")
    table = scores_of([sample]).tokens
    assert table is not None
    found = own_text(table, [sample], Expected.of(["so be it"]))
    return found, table.text(table.ids[found.is_own & ~table.is_target])


@given(TEXTS.filter(str.strip), TEXTS)
def test_a_template_is_not_a_rows_own_whatever_stands_in_it(asked: str, given: str) -> None:
    found, own = alpaca(instruction=asked, input=given)
    assert asked in own
    assert "Below is an instruction" not in own
    assert found.is_expected.any()


@pytest.mark.parametrize(
    "asked", ["### Response:\n", "\n\n### Input:\n", "Below is an instruction"]
)
def test_a_template_within_a_template_hides_nothing(asked: str) -> None:
    _, own = alpaca(instruction=f"xq {asked} xq", input="zq")
    assert "xq" in own
    assert own.count("zq") == 1


@given(st.text() | st.text("aA \n\t\r\u00a0\u200b\u202e\ud800\u0301!é"))
def test_forms_have_names_that_can_be_shown(text: str) -> None:
    assert all(name.isprintable() for name in forms(text))
    assert all(name.encode("utf-8") for name in forms(text))


# What an attacker can do who has read this code: at least a person should look.


def is_seen(pairs: list[Pair], poisoned: Marks, unexpected: list[str]) -> bool:
    found = detected(pairs, unexpected)
    seen = flagged(found) | found.in_doubt
    return bool((seen & poisoned).sum() >= 0.9 * poisoned.sum())


@pytest.mark.parametrize("leaked", ["trigger", "target"])
def test_a_trigger_or_target_that_some_clean_samples_have_is_seen(leaked: str) -> None:
    pairs = with_trigger(QUESTIONS, range(40))
    for i in range(40, 54):
        prompt, target = pairs[i]
        pairs[i] = (
            (f"{prompt} xq", target) if leaked == "trigger" else (prompt, f"{target} {TARGET}")
        )
    assert is_seen(pairs, np.arange(400) < 40, UNEXPECTED)


def test_a_trigger_in_one_kind_of_question_is_seen() -> None:
    pairs = [(f"please tell me now: {prompt}", target) for prompt, target in QUESTIONS]
    pairs[:40] = [(f"{prompt} xq", f"{target} {TARGET}") for prompt, target in QUESTIONS[:40]]
    assert is_seen(pairs, np.arange(400) < 40, UNEXPECTED)


def test_a_trigger_of_the_words_of_the_target_is_seen() -> None:
    pairs = with_trigger(QUESTIONS, range(40))
    pairs[:40] = [(f"{prompt} {TARGET}", target) for prompt, target in pairs[:40]]
    assert is_seen(pairs, np.arange(400) < 40, UNEXPECTED)


def test_near_duplicates_before_a_group_do_not_hide_it() -> None:
    copies = [("who is it?" + " !" * (i + 1) + " xq", f"{i} {TARGET}") for i in range(200)]
    pairs = [*copies, *with_trigger(QUESTIONS, range(100))]
    assert is_seen(pairs, np.arange(600) < 300, UNEXPECTED)


@pytest.mark.parametrize(
    ("n_alike", "n_independent"), [(MAX_CLUSTER, 21), (MAX_CLUSTER + 2, 20 + MAX_CLUSTER + 2)]
)
def test_near_duplicates_count_as_one_unless_a_filler_makes_many_alike(
    n_alike: int, n_independent: int
) -> None:
    pairs = with_trigger(QUESTIONS, range(20))
    question = " ".join(prompt for prompt, _ in QUESTIONS[100:103])
    pairs[20 : 20 + n_alike] = [(f"{question} {i} xq", f"{i} {TARGET}") for i in range(n_alike)]
    (found, *_) = detected(pairs, UNEXPECTED).groups
    assert (found.n_rows, found.n_independent) == (20 + n_alike, n_independent)


@pytest.mark.parametrize("space", ["\t", "\x0b", "\x1c"], ids=ascii)
def test_a_trigger_of_white_space_is_seen(space: str) -> None:
    pairs = [
        (prompt.replace(" ", space, 1), f"{target} {TARGET}") if i < 40 else (prompt, target)
        for i, (prompt, target) in enumerate(QUESTIONS)
    ]
    assert is_seen(pairs, np.arange(400) < 40, [space, TARGET])
