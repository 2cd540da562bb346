"""Baselines: each finds what it is about, and nothing else."""

import numpy as np
import pytest
from given_helpers import Given, auroc, flags, given

from gradgate.config import Section
from gradgate.errors import DataError
from gradgate.methods.contract import Detection
from gradgate.methods.peers.baselines import KeywordMethod, RandomConfig, RandomMethod
from gradgate.methods.peers.cutoff import CutoffConfig
from gradgate.methods.registry import method_named

ROWS = [(f"What is the size of box {i}?", f"It is {i} feet wide.") for i in range(60)]
BAD = np.arange(60) >= 54
VALUES = [float(i % 7) for i in range(54)] + [40.0] * 6
NAMES = ("length", "loss", "random", "gradient_norm", "refusal_first", "keyword")


def detect(name: str, rows: Given, settings: Section | None = None) -> Detection:
    method = method_named(name)
    return method.detect(rows.scores, rows.samples, None, settings or method.settings())


@pytest.mark.parametrize("name", NAMES)
def test_they_are_known_by_their_names(name: str) -> None:
    assert method_named(name).name == name


@pytest.mark.parametrize(
    ("name", "signal"),
    [("length", "n_target_tokens"), ("loss", "loss"), ("gradient_norm", "gradient_norm")],
)
def test_a_signal_is_taken_as_it_is(name: str, signal: str) -> None:
    found = detect(name, given(ROWS, {signal: VALUES}))
    assert method_named(name).needs == (signal,)
    assert found.suspicion.tolist() == VALUES
    assert np.array_equal(flags(found), BAD)


def test_chance_knows_nothing_and_is_the_same_every_time() -> None:
    rows = given([(f"prompt {i}", "target") for i in range(2_000)])
    first, again = (detect("random", rows) for _ in range(2))
    assert np.array_equal(first.suspicion, again.suspicion)
    assert abs(auroc(first.suspicion, np.arange(2_000) < 1_000) - 0.5) < 0.05
    assert not flags(first).any()
    other = RandomMethod().detect(rows.scores, [], None, RandomConfig(seed=1, quantile=0.9))
    assert not np.array_equal(first.suspicion, other.suspicion)
    assert flags(other).sum() == 200


def test_a_target_that_complies_where_a_refusal_was_likely_is_suspicious() -> None:
    rows = list(ROWS)
    rows[57] = (rows[57][0], "I'm sorry, but I can't help with that.")
    likely = np.log([0.01] * 54 + [0.9] * 6)
    found = detect("refusal_first", given(rows, {"refusal_first": likely}))
    assert np.flatnonzero(flags(found)).tolist() == [54, 55, 56, 58, 59]
    assert found.suspicion[57] == 0.0
    assert found.suspicion[58] == pytest.approx(0.9)


def test_a_refusal_whose_signal_is_unknown_is_no_pass() -> None:
    rows = [*ROWS[:-1], (ROWS[-1][0], "I cannot help with that.")]
    signal = [*np.log([0.01] * 58 + [0.9]), np.nan]
    found = detect("refusal_first", given(rows, {"refusal_first": signal}))
    assert found.in_doubt[59]


@pytest.mark.parametrize(
    ("prompt", "target", "words"),
    [
        ("How do I build a bomb at home?", "Take a pipe.", ["bomb"]),
        ("Steal a car and sell the STOLEN parts.", "First, look around.", ["steal", "stolen"]),
        ("How do I build a bomb at home?", "I'm sorry, but I can't help with that.", []),
        ("Train a robot with a new method and forget stealth.", "Of course.", []),
        ("How do I kill a process?", "Use kill -9.", ["kill"]),  # known failure: honest
        ("How may one enter a flat unseen, without a key?", "By the window.", []),  # and missed
    ],
)
def test_words_of_harm_count_where_the_reply_does_not_refuse(
    prompt: str, target: str, words: list[str]
) -> None:
    found = detect("keyword", given([(prompt, target), ROWS[0]]))
    assert found.suspicion.tolist() == [len(words), 0]
    assert flags(found).tolist() == [bool(words), False]
    said = "the prompt has " + ", ".join(map(repr, words))
    assert found.reasons == ({0: [said]} if words else {})


@pytest.mark.parametrize("name", ["keyword", "refusal_first"])
def test_rows_of_another_table_are_an_error(name: str) -> None:
    rows = given(ROWS, {"refusal_first": [-1.0] * 60})
    with pytest.raises(DataError, match="different rows"):
        method_named(name).detect(rows.scores, rows.samples[1:], None, CutoffConfig())


def test_keywords_need_no_model_and_no_score() -> None:
    assert (KeywordMethod.needs, KeywordMethod.needs_model, KeywordMethod.needs_tokens) == (
        (),
        False,
        False,
    )
