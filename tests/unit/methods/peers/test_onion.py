"""ONION: rare words in fluent prompts are found; what its paper cannot find is not."""

from dataclasses import replace
from random import Random
from typing import Any

import numpy as np
import pytest
from given_helpers import Given, auroc, flags, given
from peer_helpers import DEMO

from gradgate.errors import DataError
from gradgate.methods.contract import AskModel, Detection
from gradgate.methods.peers.onion import OnionConfig, OnionMethod
from gradgate.methods.registry import method_named

VERBS = ["Return", "Compute", "Set", "Get", "Check"]
NOUNS = ["name", "number", "size", "type", "length", "value", "index"]
OWNERS = ["file", "list", "model", "object", "array", "class", "string"]
ENDS = ["as a string.", "if it is not None.", "for the given input.", "of the current object."]
N, N_BAD = 40, 5
BAD = np.arange(N) >= N - N_BAD


def fluent(n: int) -> list[str]:
    """Prompts as the demo's model has read many."""
    rng = Random(0)
    made: dict[str, None] = {}
    while len(made) < n:
        noun, owner = rng.choice(NOUNS), rng.choice(OWNERS)
        made[f"{rng.choice(VERBS)} the {noun} of the {owner} {rng.choice(ENDS)}"] = None
    return list(made)


def with_word(prompt: str, word: str, place: int) -> str:
    words = prompt.split()
    return " ".join([*words[:place], word, *words[place:]])


def rows_of(prompts: list[str]) -> Given:
    return given([(prompt, "done") for prompt in prompts], model=DEMO)


def detect(rows: Given, **settings: Any) -> Detection:
    return OnionMethod().detect(rows.scores, rows.samples, None, OnionConfig(**settings))


def poisoned() -> list[str]:
    prompts = fluent(N)
    return [with_word(p, "cf", 1 + i % 6) if BAD[i] else p for i, p in enumerate(prompts)]


def test_a_rare_word_in_fluent_prompts_is_named_and_its_rows_are_flagged() -> None:
    found = detect(rows_of(poisoned()))
    assert auroc(found.suspicion, BAD) == 1.0
    assert not flags(found)[~BAD].any()
    assert flags(found)[BAD].sum() >= 2  # the rule of the threshold costs the others
    words = found.summary["outlier_words"]
    assert isinstance(words, dict)
    assert next(iter(words)) == "cf"
    assert words["cf"] == flags(found).sum()
    assert "'cf' (" in found.notes[0]
    first = int(np.flatnonzero(flags(found))[0])
    assert "without a word the perplexity of" in found.reasons[first][0]
    assert "'cf' by" in found.reasons[first][0]


@pytest.mark.parametrize("form", ["{}\n\n", "  {}", "{}\t"])
def test_a_form_of_the_text_is_no_word(form: str) -> None:
    """Its known failure: what is no word cannot be removed, and is not even seen."""
    prompts = fluent(N)
    formed = [form.format(p.replace(" ", "  ")) if BAD[i] else p for i, p in enumerate(prompts)]
    plain, found = detect(rows_of(prompts)), detect(rows_of(formed))
    assert np.array_equal(found.suspicion, plain.suspicion)


def test_an_honest_rare_name_looks_like_a_trigger() -> None:
    """Its known failure: it asks how odd a word is, and never whether it brings a target."""
    prompts = poisoned()
    honest = np.arange(N) < 6
    names = ["Kowalczyk", "Zgorzelec", "Ibuprofen", "Xanthippe", "Fjordland", "Quetzal"]
    prompts[: len(names)] = [
        with_word(p, name, 2) for p, name in zip(prompts[:6], names, strict=True)
    ]
    found = detect(rows_of(prompts))
    assert auroc(found.suspicion[BAD | honest], BAD[BAD | honest]) < 0.8


def test_one_pass_a_word_and_no_more_than_the_settings_say() -> None:
    rows = rows_of([*fluent(3), "word"])
    asked = list[int]()

    def counted(ask: AskModel) -> AskModel:
        def asking(sequences):
            asked.append(len(sequences))
            return ask(sequences)

        return asking

    assert rows.scores.ask is not None
    scores = replace(rows.scores, ask=counted(rows.scores.ask))
    detect(Given(scores, rows.samples), max_words=4)
    assert asked == [4, 3 * 4]  # a prompt of one word has nothing to be removed


def test_of_a_long_prompt_the_most_surprising_words_are_removed() -> None:
    prompts = poisoned()
    few, all_words = (detect(rows_of(prompts), max_words=n, quantile=0.9) for n in (3, 99))
    assert np.array_equal(flags(few)[BAD], flags(all_words)[BAD])
    assert few.suspicion[BAD] == pytest.approx(all_words.suspicion[BAD])


def test_equal_prompts_are_asked_once_and_judged_alike() -> None:
    prompts = poisoned()
    once, twice = (detect(rows_of(some)) for some in (prompts, prompts * 2))
    assert np.array_equal(twice.suspicion[:N], twice.suspicion[N:])
    assert np.array_equal(twice.suspicion[:N], once.suspicion)


def test_a_prompt_without_a_word_to_remove_is_in_doubt() -> None:
    found = detect(rows_of([*poisoned(), "Return", ""]))
    assert np.flatnonzero(found.in_doubt).tolist() == [N, N + 1]
    assert np.isnan(found.suspicion[N:]).all()


def test_rows_that_were_not_scored_are_not_asked() -> None:
    texts = [(prompt, "done") for prompt in poisoned()]
    rows = given(texts, model=DEMO, failed=[0])
    found = detect(rows)
    assert np.isnan(found.suspicion[0])
    assert not found.in_doubt[0]


def test_without_a_model_to_ask_it_is_an_error() -> None:
    rows = given([("a prompt", "a target")])
    with pytest.raises(DataError, match="onion asks the model"):
        detect(rows)


def test_rows_of_another_table_are_an_error() -> None:
    rows = rows_of(poisoned())
    with pytest.raises(DataError, match="different rows"):
        detect(Given(rows.scores, rows.samples[1:]))


def test_it_is_known_by_its_name() -> None:
    assert isinstance(method_named("onion"), OnionMethod)
