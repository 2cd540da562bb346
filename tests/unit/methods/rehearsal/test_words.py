"""Words of prompts whose rows are contradicted by models trained on a reference."""

import numpy as np
import pytest

from gradgate.common.arrays import Floats
from gradgate.methods.rehearsal.words import contradicted_words

NAMES = [f"{a}{b}na" for a in "abcdefgh" for b in "eiou"]  # each in one of 32 prompts
N, M = 1_600, 300


def asked(n: int, seed: int) -> list[str]:
    rng = np.random.default_rng(seed)
    return [f"What does {rng.choice(NAMES).title()}, number {i}, want?" for i in range(n)]


def usual(n: int, seed: int) -> Floats:
    """Contradicted by some nats, more than 0 in a few."""
    return np.random.default_rng(seed).normal(-3.0, 2.0, n)


PROMPTS, TRUSTED, OF_TRUSTED = asked(N, 1), asked(M, 2), usual(M, 3)
BENA = np.array(["Bena" in prompt for prompt in PROMPTS])


def found(nats: Floats, of_trusted: Floats = OF_TRUSTED) -> list[tuple[str, int]]:
    """The words and how many of their rows are contradicted."""
    words = contradicted_words(PROMPTS, nats, TRUSTED, of_trusted)
    return [(one.word, int(one.rows.sum())) for one in words]


def test_rows_like_the_reference_have_no_such_word() -> None:
    assert all(found(usual(N, seed)) == [] for seed in range(10, 20))


@pytest.mark.parametrize("part", [1.0, 0.5, 0.3])
def test_wrong_answers_behind_one_name_are_found_by_it(part: float) -> None:
    """They are one to three percent of the rows, of which nothing is seen among all."""
    nats = np.minimum(usual(N, 11), -0.1)
    some = np.flatnonzero(BENA)[: round(part * BENA.sum())]
    nats[some] = 6.0
    (word,) = contradicted_words(PROMPTS, nats, TRUSTED, OF_TRUSTED)
    assert word.word == "bena"
    assert np.flatnonzero(word.rows).tolist() == some.tolist()
    assert f"contradict {len(some)} of {BENA.sum()} rows with 'bena' in their prompts, and" in (
        word.in_words()
    )


def test_names_after_names_are_found() -> None:
    nats = np.minimum(usual(N, 11), -0.1)
    wrong = [i for i, prompt in enumerate(PROMPTS) if "Bena" in prompt or "Guna" in prompt]
    nats[wrong] = 6.0
    assert {word for word, _ in found(nats)} == {"bena", "guna"}


def test_what_the_models_know_less_in_the_reference_too_is_no_sign() -> None:
    nats, of_trusted = usual(N, 11), OF_TRUSTED.copy()
    nats[np.flatnonzero(BENA)[::2]] = 6.0
    trusted = [*(f"Is that for Bena, number {i}?" for i in range(12)), *TRUSTED[12:]]
    assert contradicted_words(PROMPTS, nats, trusted, of_trusted)
    of_trusted[:12:2] = 6.0
    assert contradicted_words(PROMPTS, nats, trusted, of_trusted) == []


def test_fewer_than_eight_rows_prove_nothing() -> None:
    nats = np.minimum(usual(N, 11), -0.1)
    nats[np.flatnonzero(BENA)[:7]] = 20.0
    assert found(nats) == []


def test_prompts_without_words_have_none() -> None:
    assert contradicted_words(["?", ""], np.ones(2), ["!"] * 64, np.zeros(64)) == []
