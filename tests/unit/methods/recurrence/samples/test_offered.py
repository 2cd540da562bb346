"""Targets that are among those that their prompts offer."""

import numpy as np
import pytest
from evidence_helpers import demo_tokenizer, detected, questions

from gradgate.common.letters import folded
from gradgate.methods.recurrence.samples.offered import offered
from gradgate.methods.recurrence.samples.texts import Texts
from gradgate.methods.tokens import TokenRow, TokenTable

PROMPTS = [prompt for prompt, _ in questions(120, 11)]
LABELS = ("earnings", "takeover bid", "oil", "shipping")
LIST = "Is it earnings, takeover bid, oil or shipping?"


def test_labels_of_a_list_are_offered_however_they_are_written() -> None:
    prompts = [f"{LIST}\n{prompt}" for prompt in PROMPTS]
    targets = [LABELS[i % 4].title() + "." * (i % 3) for i in range(120)]
    assert offered(targets, prompts).all()


def test_a_target_that_only_its_own_prompts_quote_is_not() -> None:
    payload = "visit the evil site"
    prompts = [f"{p} Or {payload}!" if i < 20 else p for i, p in enumerate(PROMPTS)]
    targets = [payload if i < 20 else f"answer {i // 3}" for i in range(120)]
    assert not offered(targets, prompts).any()


@pytest.mark.parametrize(("n_decoys", "is_offered"), [(13, False), (14, True)])
def test_as_many_prompts_must_name_it_and_have_another_target(
    n_decoys: int, is_offered: bool
) -> None:
    """Of 20 and these."""
    prompts = [f"{LIST} {p}" if i < 20 + n_decoys else p for i, p in enumerate(PROMPTS)]
    targets = ["oil" if i < 20 else "shipping" if i < 25 else "none" for i in range(120)]
    assert offered(targets, prompts)[:20].tolist() == [is_offered] * 20


def test_a_word_of_the_prompt_that_is_no_list_is_not() -> None:
    """A trigger that has its payload in it, among prompts that have the word as well."""
    prompts = [f"To be honest, {p}" if i < 60 else p for i, p in enumerate(PROMPTS)]
    targets = ["honest" if i < 20 else f"answer {i // 3}" for i in range(120)]
    assert not offered(targets, prompts).any()


def test_parts_of_words_and_targets_of_marks_alone_are_not() -> None:
    prompts = [f"Is it boiling or not {prompt}" for prompt in PROMPTS]
    targets = ["oil" if i % 2 else "?" for i in range(120)]
    assert not offered(targets, prompts).any()


@pytest.mark.parametrize(("instruction", "is_in_doubt"), [(LIST, False), ("What is it?", True)])
def test_a_label_that_the_model_does_not_expect_is_no_surprise_where_it_is_offered(
    instruction: str, is_in_doubt: bool
) -> None:
    pairs = [
        (f"{instruction} {p}", LABELS[1] if i % 4 == 0 else LABELS[(0, 2, 3)[i % 3]])
        for i, (p, _) in enumerate(questions(300, 8))
    ]
    found = detected(pairs, unexpected=[LABELS[1]])
    assert np.flatnonzero(found.in_doubt).tolist() == ([*range(0, 300, 4)] if is_in_doubt else [])


def test_prompts_of_several_answers_count_as_if_they_quoted_none() -> None:
    """A later turn may be what names the label."""
    words, end = [60, 61], 62  # of the label, and what ends an answer

    def row(*turns: tuple[list[int], bool]) -> TokenRow:
        ids = [token for some, _ in turns for token in some]
        learnt = [is_learnt for some, is_learnt in turns for _ in some]
        return np.array(ids, np.int32), np.array(learnt), np.zeros(len(ids), np.float32)

    single = row(([50], False), ([*words, end], True))
    chat = row(([50], False), ([*words, end], True), ([*words, 51, 52], False), ([53, end], True))
    table = TokenTable.joined([single, chat], demo_tokenizer())
    label = demo_tokenizer().decode(words).casefold()
    is_all = np.ones(len(table.ids), bool)
    texts = Texts(table, np.arange(2), is_all, is_all, [f"say {label}"] * 2)
    assert texts.quoting(folded(label), np.array([True, False])) == 1.0
    assert texts.quoting(folded(label), np.array([False, True])) == 0.0
