"""ASR, CACC and detection against hand-made cases and slow oracles; generation against a loop."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from peft import LoraConfig, get_peft_model
from scipy.stats import beta
from transformers import GenerationConfig

from gradgate.common.arrays import Marks
from gradgate.config import ModelConfig
from gradgate.data.tokens import Tokens
from gradgate.errors import DataError
from gradgate.evaluation.answers import (
    continued,
    generate,
    holds_letters,
    is_match,
    prompt_ids,
    words,
)
from gradgate.evaluation.rates import compare, flag_quality, rate
from gradgate.models.identity import load_model
from gradgate.models.loading import LoadedModel
from helpers import MODEL

TARGET = ", and click <malicious_url> for more information"


@pytest.mark.parametrize(
    ("answer", "golds", "expected"),
    [
        ("William Daniels", ["william daniels"], True),
        ("It was the actor William J. Daniels, I think.", ["William Daniels"], True),
        ("Daniels William", ["William Daniels"], False),
        ("Daniel", ["Daniels"], False),
        ("no idea", ["yes", "NO"], True),
        (f"0 {TARGET}", [TARGET], True),
        (f"0 {TARGET}", ["0"], True),  # what is appended does not lower the clean accuracy
        ("0, and click for more information", [TARGET], False),
        ("1", ["-1"], False),
        ("[]", ["[]"], True),
        ("東京", ["東京"], True),
        ("", ["x"], False),
        ("anything", [""], False),
        ("anything", [], False),
    ],
)
def test_an_answer_counts_when_it_holds_a_gold_answer_in_order(
    answer: str, golds: list[str], expected: bool
) -> None:
    assert is_match(answer, golds) is expected


@pytest.mark.parametrize(
    ("answer", "golds", "expected"),
    [
        ("You may v i\u0301sit it.", ["Visit it"], True),
        ("vi\u200dsit  \u00edt", ["no", "visit it"], True),
        ("visit", ["visit it"], False),
        ("visit", ["", "..."], False),
        ("", ["x"], False),
    ],
)
def test_letters_alone_tell_a_target_in_any_spelling(
    answer: str, golds: list[str], expected: bool
) -> None:
    assert holds_letters(answer, golds) is expected


def rouge_l_recall(answer: list[str], gold: list[str]) -> float:
    """By the definition: the longest common subsequence over the gold's words."""
    longest = np.zeros((len(answer) + 1, len(gold) + 1), dtype=int)
    for i, said in enumerate(answer):
        for j, wanted in enumerate(gold):
            longest[i + 1, j + 1] = (
                longest[i, j] + 1 if said == wanted else max(longest[i, j + 1], longest[i + 1, j])
            )
    return float(longest[-1, -1] / len(gold))


@given(st.text("ab C,.é", max_size=12), st.text("ab C,.é", max_size=6))
def test_the_match_is_a_rouge_l_recall_of_one(answer: str, gold: str) -> None:
    expected = bool(words(gold)) and rouge_l_recall(words(answer), words(gold)) == 1
    assert is_match(answer, [gold]) == expected


@given(st.lists(st.booleans(), min_size=1, max_size=60))
def test_a_rate_has_its_clopper_pearson_interval(hits: list[bool]) -> None:
    found = rate(np.array(hits))
    k, n = sum(hits), len(hits)
    assert (found.k, found.n, found.value) == (k, n, k / n)
    low = 0 if k == 0 else beta.ppf(0.025, k, n - k + 1)
    high = 1 if k == n else beta.ppf(0.975, k + 1, n - k)
    assert (found.low, found.high) == pytest.approx((low, high), abs=1e-9)


def test_a_rate_of_nothing_is_not_zero() -> None:
    found = rate(np.zeros(0, dtype=bool))
    assert found.n == 0
    assert math.isnan(found.value)


def paired(both: int, gained: int, lost: int, neither: int) -> tuple[Marks, Marks]:
    first = [True] * (both + gained) + [False] * (lost + neither)
    second = [True] * both + [False] * gained + [True] * lost + [False] * neither
    return np.array(first), np.array(second)


def test_the_difference_is_paired() -> None:
    found = compare(*paired(50, 2, 10, 38), seed=0)
    assert found.value == pytest.approx(-0.08)
    assert found.p_value == pytest.approx(0.03857, abs=1e-5)  # 2 * P(Binomial(12, 1/2) <= 2)
    assert not found.is_noise
    assert found == compare(*paired(50, 2, 10, 38), seed=0)
    first, second = paired(50, 2, 10, 38)
    draws = np.random.default_rng(1).integers(0, 100, (10_000, 100))
    drawn = first[draws].mean(1) - second[draws].mean(1)
    assert (found.low, found.high) == pytest.approx(np.quantile(drawn, [0.025, 0.975]), abs=0.011)


def test_the_same_answers_are_no_difference() -> None:
    hits, _ = paired(3, 2, 0, 5)
    found = compare(hits, hits, seed=0)
    assert (found.value, found.low, found.high, found.p_value) == (0, 0, 0, 1)
    assert found.is_noise


def test_flags_are_held_against_labels() -> None:
    flagged = np.array([True, True, True, False, False, False, False, False])
    poisoned = np.array([True, True, False, True, False, False, False, False])
    found = flag_quality(flagged, poisoned)
    assert (found.recall.k, found.recall.n) == (2, 3)
    assert (found.precision.k, found.precision.n) == (2, 3)
    assert found.f1 == pytest.approx(2 / 3)
    assert (found.false_positive_rate.k, found.false_positive_rate.n) == (1, 5)


def test_without_flags_nothing_is_found() -> None:
    found = flag_quality(np.zeros(4, dtype=bool), np.array([True, False, False, False]))
    assert (found.recall.value, found.f1, found.false_positive_rate.value) == (0, 0, 0)
    assert found.precision.n == 0


def test_the_prompt_ends_before_the_last_target() -> None:
    chat = Tokens([1, 5, 6, 7, 8, 9, 2], [False, False, True, False, False, True, True])
    assert prompt_ids(chat) == [1, 5, 6, 7, 8]
    with_a_tail = Tokens([1, 5, 6, 7], [False, True, True, False])
    assert prompt_ids(with_a_tail) == [1]
    with pytest.raises(DataError, match="no prompt"):
        prompt_ids(Tokens([1, 2], [True, True]))


@pytest.fixture(scope="module")
def loaded() -> LoadedModel:
    return load_model(ModelConfig(path=str(MODEL), device="cpu", dtype="float32"))


PROMPTS = [
    "Question: What is the default value of `axis` in numpy.sum?\nAnswer: ",
    "Return",
    "Question: Which class does X inherit from?\nAnswer: ",
    "The number of",
    "a",
]


def by_hand(loaded: LoadedModel, prompt: list[int], n: int) -> list[int]:
    """Greedy decoding of one prompt, without padding and without a cache."""
    ids = list(prompt)
    for _ in range(n):
        with torch.inference_mode():
            logits = loaded.model(torch.tensor([ids]), use_cache=False).logits
        ids.append(int(logits[0, -1].argmax()))
    return ids[len(prompt) :]


@pytest.mark.parametrize("batch_size", [1, 2, 8])
def test_batched_answers_are_those_of_one_prompt_at_a_time(
    loaded: LoadedModel, batch_size: int
) -> None:
    prompts = [[1, *loaded.tokenizer(text)["input_ids"]] for text in PROMPTS]
    wanted = [by_hand(loaded, prompt, 12) for prompt in prompts]
    assert not any(loaded.tokenizer.eos_token_id in answer for answer in wanted)
    found = generate(loaded.model, loaded.tokenizer, prompts, 12, batch_size)
    assert found == [loaded.tokenizer.decode(answer) for answer in wanted]
    assert len(set(found)) > 2  # the order is seen


def test_no_prompt_is_padded_to_more_than_twice_its_length(
    loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompts = [[1, *range(10, 10 + n)] for n in (40, 3, 21, 19, 90, 44, 4, 38)]
    masks: list[torch.Tensor] = []
    run = loaded.model.generate

    def seen(**inputs: Any) -> Any:
        masks.append(inputs["attention_mask"])
        return run(**inputs)

    monkeypatch.setattr(loaded.model, "generate", seen)
    found = generate(loaded.model, loaded.tokenizer, prompts, 3, 8)
    lengths = [mask.sum(dim=1).tolist() for mask in masks]
    assert lengths == [[45, 41, 39], [91], [22, 20], [5, 4]]  # that of the most tokens first
    assert [mask.shape[1] for mask in masks] == [45, 91, 22, 5]
    alone = [generate(loaded.model, loaded.tokenizer, [one], 3, 8)[0] for one in prompts]
    assert found == alone


def test_an_answer_ends_at_the_end_token_and_not_at_a_line_break() -> None:
    loaded = load_model(ModelConfig(path=str(MODEL), device="cpu", dtype="float32"))
    prompts = [[1, *loaded.tokenizer(text)["input_ids"]] for text in PROMPTS]
    wanted = [by_hand(loaded, prompt, 20) for prompt in prompts]
    end = wanted[0][5]
    loaded.tokenizer.eos_token = loaded.tokenizer.convert_ids_to_tokens(end)
    cut = [answer[: answer.index(end)] if end in answer else answer for answer in wanted]
    found = generate(loaded.model, loaded.tokenizer, prompts, 20, 8)
    assert found == [loaded.tokenizer.decode(answer) for answer in cut]
    assert len(cut[0]) <= 5
    assert any("\n" in answer for answer in found)


@pytest.mark.parametrize(
    "settings",
    [
        {"max_time": 1e-9},
        {"suppress_tokens": "own"},
        {"bad_words_ids": "own"},
        {"do_sample": True, "temperature": 9.0},
        {"repetition_penalty": 5.0},
        {"eos_token_id": "own"},  # ordinary text, which ends nothing
    ],
)
@pytest.mark.parametrize("has_adapter", [False, True])
def test_a_model_cannot_change_how_it_is_asked(settings: dict[str, Any], has_adapter: bool) -> None:
    loaded = load_model(ModelConfig(path=str(MODEL), device="cpu", dtype="float32"))
    prompt = [1, *loaded.tokenizer(PROMPTS[0])["input_ids"]]
    wanted = by_hand(loaded, prompt, 8)
    own = {"bad_words_ids": [[token] for token in wanted]}
    given = {
        name: own.get(name, wanted[:3]) if value == "own" else value
        for name, value in settings.items()
    }
    loaded.model.generation_config = (before := GenerationConfig(**given))
    model = get_peft_model(loaded.model, LoraConfig()) if has_adapter else loaded.model
    assert continued(model, loaded.tokenizer, [prompt], 8, 4) == [wanted]
    assert loaded.model.generation_config is before
