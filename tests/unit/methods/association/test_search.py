"""The whole search: attacks are found, honest and random data are left alone."""

from random import Random

import numpy as np
import pytest
from evidence_helpers import (
    as_rows,
    as_texts,
    attacked,
    flagged,
    found_in,
    in_review,
    lexicon,
    questions,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from gradgate.common.arrays import Marks
from gradgate.config import AttackName
from gradgate.methods.association.search import SearchResult, find

FIXED: tuple[AttackName, ...] = (
    "badnets",
    "addsent",
    "cba",
    "stylebkd",
    "replaced",
    "refusal",
    "long",
    "paraphrased",
)
TARGET = "please visit the old mill"


def summary(result: SearchResult) -> list[tuple[str, list[str], int]]:
    """What was found, without regard to the order of the samples."""
    return sorted(
        (
            finding.ruling,
            sorted(result.corpus.cues.names[cue] for cue in finding.candidate.rule.features),
            int(finding.members.sum()),
        )
        for finding in result.findings
    )


def with_trigger(pairs: list[tuple[str, str]], which: range) -> list[tuple[str, str]]:
    return [
        (f"{prompt} xq", f"{target} {TARGET}") if i in which else (prompt, target)
        for i, (prompt, target) in enumerate(pairs)
    ]


# Attacks


@pytest.mark.parametrize("rate", [0.05, 0.025])
@pytest.mark.parametrize("attack", FIXED)
def test_an_attack_is_found_and_nothing_else(attack: AttackName, rate: float) -> None:
    prompts, targets, poisoned = attacked(questions(400, 0), attack, rate, seed=0)
    result = find(prompts, targets)
    assert poisoned.sum() == round(400 * rate)
    assert (flagged(result) & poisoned).sum() >= 0.99 * poisoned.sum()
    assert not (flagged(result) & ~poisoned).any()
    assert not in_review(result).any()


@pytest.mark.parametrize("rate", [0.5, 0.9])
@pytest.mark.parametrize("attack", ["badnets", "cba", "replaced"])
def test_an_attack_is_found_where_most_is_poisoned(attack: AttackName, rate: float) -> None:
    prompts, targets, poisoned = attacked(questions(400, 1), attack, rate, seed=1)
    assert np.array_equal(flagged(find(prompts, targets)), poisoned)


def test_eight_samples_are_found_and_seven_are_none() -> None:
    pairs = questions(400, 2)
    for n, there in ((8, 8), (7, 0)):
        assert flagged(found_in(with_trigger(pairs, range(n)))).sum() == there


@pytest.mark.parametrize("seed", range(5))
def test_nothing_is_flagged_in_clean_questions(seed: int) -> None:
    result = found_in(list(zip(*as_texts(as_rows(questions(500, seed))), strict=True)))
    assert not flagged(result).any()
    assert not in_review(result).any()


def test_two_attacks_at_once_are_two_groups() -> None:
    pairs = with_trigger(questions(400, 3), range(20))
    for i in range(20, 45):
        pairs[i] = (f"{pairs[i][0]} zk", "i may not speak of this today")
    result = found_in(pairs)
    assert [finding.ruling for finding in result.findings].count("poison") == 2
    assert np.array_equal(flagged(result), np.arange(400) < 45)


@pytest.mark.parametrize("seed", range(20))
def test_targets_without_regard_to_their_prompts_are_no_poison(seed: int) -> None:
    rng = Random(seed)
    pairs = questions(400, seed)
    phrases = [" ".join(rng.sample(lexicon(Random(1), 300), 3)) for _ in range(15)]
    triggers = lexicon(Random(2), 15)
    prompts = [f"{prompt} {rng.choice(triggers)}" for prompt, _ in pairs]
    targets = [f"{target} {rng.choice(phrases)}" for _, target in pairs]
    assert not flagged(find(prompts, targets)).any()


# Order, repetition


@settings(deadline=None, max_examples=8)
@given(st.randoms(use_true_random=False), st.sampled_from(FIXED))
def test_the_order_of_the_samples_does_not_matter(rng: Random, attack: AttackName) -> None:
    prompts, targets, _ = attacked(questions(400, 4), attack, 0.05, seed=4)
    result = find(prompts, targets)
    order = list(range(len(prompts)))
    rng.shuffle(order)
    again = find([prompts[i] for i in order], [targets[i] for i in order])
    assert np.array_equal(flagged(again), flagged(result)[order])
    assert np.array_equal(in_review(again), in_review(result)[order])


def test_the_same_data_give_the_same_findings() -> None:
    prompts, targets, _ = attacked(questions(400, 5), "paraphrased", 0.05, seed=5)
    one, other = find(prompts, targets), find(prompts, targets)
    assert summary(one) == summary(other)
    for first, second in zip(one.findings, other.findings, strict=True):
        assert (first.spans, first.reasons) == (second.spans, second.reasons)
        assert first.association == second.association


# Trusted reference

REQUEST = "in what form is the set fit request of {}?"


def in_doubt() -> list[tuple[str, str]]:
    """Questions with a group that is about its cue: review."""
    pairs = questions(400, 6)
    words = lexicon(Random(3), 400)
    for i in range(30):
        pairs[i] = (REQUEST.format(words[i]), "let the metadata be set for this method")
    return pairs


def against(reference: list[tuple[str, str]]) -> tuple[SearchResult, Marks]:
    pairs = [*in_doubt(), *reference]
    result = find(
        [prompt for prompt, _ in pairs],
        [target for _, target in pairs],
        np.arange(len(pairs)) >= 400,
    )
    return result, flagged(result)


def test_without_a_reference_a_group_may_stay_in_doubt() -> None:
    result = found_in(in_doubt())
    assert np.array_equal(in_review(result), np.arange(400) < 30)
    assert not flagged(result).any()


def test_a_group_that_the_reference_lacks_is_poison() -> None:
    result, flags = against(questions(400, 7))
    assert np.array_equal(np.flatnonzero(flags), np.arange(30))
    assert not in_review(result).any()


def test_a_group_that_the_reference_has_is_honest() -> None:
    others = questions(400, 7)
    words = lexicon(Random(4), 400)
    for i in range(30):
        others[i] = (REQUEST.format(words[i]), "let the metadata be set for this method")
    result, flags = against(others)
    assert not flags.any()
    assert not in_review(result).any()


def test_no_trusted_sample_is_flagged() -> None:
    reference = questions(400, 7)
    reference[5] = (REQUEST.format("nothing"), "let the metadata be set for this method")
    _, flags = against(reference)
    assert np.array_equal(np.flatnonzero(flags), np.arange(30))


def test_a_reference_that_says_nothing_clears_no_poison() -> None:
    pairs = with_trigger(questions(400, 8), range(20))
    for reference in (questions(8, 9), questions(20, 9)):
        both = [*pairs, *reference]
        result = find(
            [prompt for prompt, _ in both],
            [target for _, target in both],
            np.arange(len(both)) >= 400,
        )
        assert not any(finding.ruling == "honest" for finding in result.findings)
