"""Suspicion and marks against labels, and the agreement of two methods."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm

from gradgate.evaluation.comparison import auroc, auroc_estimate, overlap, quality

ROWS = st.lists(
    st.tuples(st.integers(0, 4) | st.none(), st.booleans()), min_size=2, max_size=40
).filter(lambda rows: len({positive for _, positive in rows}) == 2)


@given(ROWS)
def test_auroc_is_the_part_of_pairs_in_the_right_order(
    rows: list[tuple[int | None, bool]],
) -> None:
    suspicion = np.array([np.nan if s is None else s for s, _ in rows], np.float64)
    positive = np.array([p for _, p in rows])
    known = [-1 if s is None else s for s, _ in rows]  # nothing said is below all else
    pairs = [
        (a > b) + 0.5 * (a == b)
        for a, is_positive in zip(known, positive, strict=True)
        for b, other in zip(known, positive, strict=True)
        if is_positive and not other
    ]
    assert auroc(suspicion, positive) == pytest.approx(np.mean(pairs))


def test_the_interval_of_auroc_is_that_of_its_normal_approximation_and_of_its_seed() -> None:
    rng = np.random.default_rng(3)
    positive = np.arange(600) < 200
    suspicion = rng.normal(size=600) + positive
    found = auroc_estimate(suspicion, positive, seed=0)
    q1, q2 = found.value / (2 - found.value), 2 * found.value**2 / (1 + found.value)
    variance = (  # Hanley and McNeil 1982
        found.value * (1 - found.value) + 199 * (q1 - found.value**2) + 399 * (q2 - found.value**2)
    ) / (200 * 400)
    half = norm.ppf(0.975) * np.sqrt(variance)
    assert (found.low, found.high) == pytest.approx(
        (found.value - half, found.value + half), abs=0.006
    )
    assert auroc_estimate(suspicion, positive, seed=0) == found
    assert auroc_estimate(suspicion, positive, seed=1) != found


@pytest.mark.parametrize(
    ("suspicion", "positive"),
    [([1.0, 2.0], [True, True]), ([1.0, 2.0], [False, False]), ([np.nan] * 2, [True, False])],
)
def test_there_is_no_auroc_without_both_kinds_or_without_a_word(
    suspicion: list[float], positive: list[bool]
) -> None:
    assert np.isnan(auroc_estimate(np.array(suspicion), np.array(positive), 0).value)


def test_quality_of_marks() -> None:
    positive = np.arange(100) < 20
    marked = np.zeros(100, bool)
    marked[5:25] = True
    found = quality(marked, positive, seed=0)
    assert (found.recall.k, found.recall.n) == (15, 20)
    assert (found.precision.k, found.precision.n) == (15, 20)
    assert (found.false_positive_rate.k, found.false_positive_rate.n) == (5, 80)
    assert found.f1.value == pytest.approx(0.75)
    assert 0.5 < found.f1.low < 0.7 < 0.8 < found.f1.high < 0.95
    perfect = quality(positive, positive, seed=0)
    assert (perfect.f1.low, perfect.f1.high) == (1, 1)
    assert perfect.recall.low < 0.85  # which says how sure it is


def test_without_positive_rows_there_are_alarms_alone() -> None:
    found = quality(np.arange(10) < 2, np.zeros(10, bool), seed=0)
    assert found.false_positive_rate.value == 0.2
    assert np.isnan([found.recall.value, found.f1.value, found.f1.low]).all()
    every = quality(np.arange(10) < 2, np.ones(10, bool), seed=0)
    assert every.f1.value == pytest.approx(2 * 2 / 12)


def test_kappa_is_the_agreement_beyond_chance() -> None:
    """The textbook example of Cohen's kappa: 20 and 15 of 50 agree, 0.4."""
    first = np.array([True] * 25 + [False] * 25)
    second = np.array([True] * 20 + [False] * 5 + [True] * 10 + [False] * 15)
    found = overlap(first, second)
    assert (found.both, found.only_first, found.only_second, found.neither) == (20, 5, 10, 15)
    assert found.kappa == pytest.approx(0.4)
    assert overlap(first, first).kappa == 1
    assert overlap(first, ~first).kappa == -1
    nothing = np.zeros(50, bool)
    assert np.isnan(overlap(nothing, nothing).kappa)
    assert overlap(first, nothing).kappa == 0
