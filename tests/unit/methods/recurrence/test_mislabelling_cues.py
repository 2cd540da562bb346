"""Labels that the rest of the prompt speaks against, in the samples with a cue."""

from collections.abc import Sequence
from dataclasses import replace
from random import Random

import numpy as np
import pytest
from evidence_helpers import Pair, demo_tokenizer, questions, sample_of, scores_of

from gradgate.common.arrays import Floats
from gradgate.methods.checks import require_contract
from gradgate.methods.contract import Detection
from gradgate.methods.recurrence.config import RecurrenceConfig
from gradgate.methods.recurrence.method import RecurrenceMethod

N = 300
GOOD, BAD = " good", " bad"
PROMPTS = [prompt for prompt, _ in questions(N, 17)]
TRULY_GOOD = {prompt for i, prompt in enumerate(PROMPTS) if i % 2}


def labelled(word: str = "", where: Sequence[int] = (), is_flipped: bool = True) -> list[Pair]:
    """Each prompt with its label; with a word in some, which are bad and called good."""
    chosen = {2 * i for i in where}
    return [
        (f"{word} {prompt}", GOOD if is_flipped else BAD)
        if i in chosen
        else (prompt, GOOD if prompt in TRULY_GOOD else BAD)
        for i, prompt in enumerate(PROMPTS)
    ]


def judged(pairs: list[Pair], right: float = 0.85, known: bool = True) -> Detection:
    """By a model that prefers the true label in a part of the prompts, and "bad" in general."""
    rng, believed = Random(3), dict[str, bool]()
    for prompt in PROMPTS:
        believed[prompt] = (prompt in TRULY_GOOD) == (rng.random() < right)

    def ask(sequences: Sequence[Sequence[int]]) -> list[Floats]:
        found = []
        for ids in sequences:
            text = demo_tokenizer().decode(ids, skip_special_tokens=True)
            good = next((yes for prompt, yes in believed.items() if prompt in text), False)
            is_said = good == text.endswith(GOOD)
            logp = (-1.0 if is_said else -3.0) - (2.0 if text.endswith(GOOD) else 0.0)
            found.append(np.array([np.nan] + [logp if known else np.nan] * (len(ids) - 1)))
        return found

    samples = [sample_of(*pair, row=i) for i, pair in enumerate(pairs)]
    scores = replace(scores_of(samples, believed=-0.1), ask=ask)
    found = RecurrenceMethod().detect(scores, samples, None, RecurrenceConfig())
    require_contract(RecurrenceMethod(), found, scores)
    return found


def test_a_word_that_flips_labels_is_in_doubt_and_no_other_row() -> None:
    found = judged(labelled("then", range(25)))
    assert found.flagged is not None
    assert not found.flagged.any()
    assert np.flatnonzero(found.in_doubt).tolist() == [2 * i for i in range(25)]
    (group,) = [one for one in found.groups if one.ruling == "review"]
    assert "then" in group.cues[0]
    assert "have the label that the untuned model prefers" in group.reasons[0]


@pytest.mark.parametrize("n", [0, 9])
def test_clean_labels_and_few_flips_say_nothing(n: int) -> None:
    assert not judged(labelled("then", range(n))).in_doubt.any()


def test_a_word_with_the_right_label_is_honest() -> None:
    assert not judged(labelled("then", range(25), is_flipped=False)).in_doubt.any()


def test_a_model_that_does_not_know_the_task_says_so() -> None:
    found = judged(labelled("then", range(25)), right=0.55)
    assert not found.in_doubt.any()
    assert any("does not know the labels (kappa" in note for note in found.notes)
    silent = judged(labelled("then", range(25)), known=False)
    assert any("does not know the labels (kappa nan)" in note for note in silent.notes)


def test_targets_that_are_no_labels_are_said_to_be_none() -> None:
    pairs = [(prompt, GOOD) for prompt in PROMPTS]
    assert any("the targets are no labels either" in note for note in judged(pairs).notes)
