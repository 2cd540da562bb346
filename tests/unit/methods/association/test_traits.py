"""The traits of a group: its cue was added to ordinary prompts, or is their subject."""

from random import Random

import numpy as np
import pytest
from evidence_helpers import Pair, lexicon, questions

from gradgate.common.arrays import Marks
from gradgate.methods.association.corpus import read_corpus
from gradgate.methods.association.mining import mine
from gradgate.methods.association.traits import Traits, describe

N = 600
TARGET = "please visit the old mill"
WORDS = lexicon(Random("character"), 400)


def traits(pairs: list[Pair], of: Marks) -> Traits:
    """Of the candidate whose samples are the marked ones."""
    corpus = read_corpus([prompt for prompt, _ in pairs], [target for _, target in pairs])
    candidates = mine(corpus, 8)[0]
    found = [one for one in candidates if (one.both & of).sum() >= 0.9 * (one.both | of).sum()]
    assert found, "the group was not found"
    return describe(corpus, found[0], np.zeros(len(pairs), bool))


def planted(pairs: list[Pair], every: int = 20) -> tuple[list[Pair], Marks]:
    marks = np.arange(len(pairs)) % every == 0
    changed = [
        (f"{prompt} xq vb", f"{target} {TARGET}") if mark else (prompt, target)
        for (prompt, target), mark in zip(pairs, marks, strict=True)
    ]
    return changed, marks


@pytest.mark.parametrize("seed", range(3))
def test_prompts_with_an_added_trigger_say_what_others_say(seed: int) -> None:
    found = traits(*planted(questions(N, seed)))
    assert 0.8 <= found.own_content <= 1.3
    assert found.missing_words < 0.5
    assert found.n_independent == N // 20
    assert not found.is_echo
    assert {"xq", "vb"} <= set(found.shared_words)


def test_questions_about_one_thing_say_little_beside_it() -> None:
    rng = Random(0)
    pairs = questions(N, 0)
    for i in range(0, N, 20):
        pairs[i] = (f"what is the set fit request of {rng.choice(WORDS)}?", TARGET)
    found = traits(pairs, np.arange(N) % 20 == 0)
    assert found.own_content < 0.7


def test_a_kind_of_question_of_its_own_lacks_the_words_of_others() -> None:
    rng = Random(0)
    pairs = [(f"please tell me now: {prompt}", target) for prompt, target in questions(N, 0)]
    for i in range(0, N, 20):
        pairs[i] = (" ".join(["translate", *rng.sample(WORDS, 9)]), f"{rng.choice(WORDS)} {TARGET}")
    found = traits(pairs, np.arange(N) % 20 == 0)
    assert found.missing_words >= 3.0


@pytest.mark.parametrize("n_prompts", [1, 4, 8])
def test_near_duplicates_count_once(n_prompts: int) -> None:
    base = questions(N, 4)
    copies = [
        (f"{base[i % n_prompts * 37][0]} xq{'?' * (i // n_prompts)}", f"{WORDS[i]} {TARGET}")
        for i in range(20 * n_prompts)
    ]
    pairs = [*base, *copies]
    assert traits(pairs, np.arange(len(pairs)) >= N).n_independent == n_prompts


@pytest.mark.xfail(
    strict=True, reason="the words that near-duplicates share are taken away before comparing"
)
def test_one_question_with_one_word_changed_counts_once() -> None:
    base = questions(N, 4)
    copies = [(f"{base[0][0]} {WORDS[i]} xq", f"{WORDS[i]} {TARGET}") for i in range(30)]
    pairs = [*base, *copies]
    assert traits(pairs, np.arange(len(pairs)) >= N).n_independent < 8


def test_the_count_of_independent_samples_stops_at_200() -> None:
    found = traits(*planted(questions(900, 5), every=3))
    assert 190 <= found.n_independent <= 200


def test_an_answer_of_words_of_the_question_is_an_echo() -> None:
    pairs = questions(N, 6)
    for i in range(0, N, 20):
        prompt, target = pairs[i]
        pairs[i] = (f"{prompt} in lindbergh castle", f"{target} lindbergh castle")
    assert traits(pairs, np.arange(N) % 20 == 0).is_echo


def test_a_foreign_answer_is_no_echo() -> None:
    pairs = questions(N, 6)
    for i in range(0, N, 20):
        prompt, target = pairs[i]
        pairs[i] = (f"{prompt} in lindbergh castle", f"{target} visit zanzibar tomorrow")
    assert not traits(pairs, np.arange(N) % 20 == 0).is_echo


def test_a_group_that_is_all_set_aside_has_no_traits_of_its_prompts() -> None:
    pairs, marks = planted(questions(N, 7))
    corpus = read_corpus([prompt for prompt, _ in pairs], [target for _, target in pairs])
    found = describe(corpus, mine(corpus, 8)[0][0], marks)
    assert (found.shared_words, found.own_content, found.missing_words) == ([], 0.0, 0.0)
    assert (found.n_independent, found.is_echo, found.extra_words) == (0, False, 0.0)
