"""Associations and rules against textbook formulas and exhaustive search."""

import math
from itertools import combinations

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.stats import fisher_exact

from gradgate.methods.association.association import associate, phi
from gradgate.methods.association.incidence import Incidence, incidence
from gradgate.methods.association.rules import MAX_CUES, best_rule

MARKS = st.integers(2, 60).flatmap(
    lambda n: st.tuples(*[st.lists(st.booleans(), min_size=n, max_size=n).map(np.array)] * 2)
)


def correlation(one: np.ndarray, other: np.ndarray) -> float:
    if len(set(one)) < 2 or len(set(other)) < 2:
        return 0.0
    return float(np.corrcoef(one.astype(float), other.astype(float))[0, 1])


@given(MARKS)
def test_phi_is_the_correlation(marks: tuple[np.ndarray, np.ndarray]) -> None:
    one, other = marks
    found = float(phi((one & other).sum(), one.sum(), other.sum(), len(one)))
    assert found == pytest.approx(correlation(one, other), abs=1e-9)


def test_phi_of_large_counts_does_not_overflow() -> None:
    n = 10_000_000
    half = np.array([n / 2])
    assert phi(half, half, half, n)[0] == pytest.approx(1.0)
    assert float(phi(n // 2, n // 2, n // 2, n)) == pytest.approx(1.0)


@settings(deadline=None)
@given(MARKS, st.integers(1, 1000))
def test_an_association_is_tested_as_in_the_textbook(
    marks: tuple[np.ndarray, np.ndarray], n_tests: int
) -> None:
    span, cue = marks
    found = associate(span, cue, n_tests)
    a, b = int((span & cue).sum()), int((span & ~cue).sum())
    c, d = int((~span & cue).sum()), int((~span & ~cue).sum())
    exact = fisher_exact(np.array([[a, b], [c, d]]), alternative="greater").pvalue
    assert found.p_value == pytest.approx(min(1.0, exact * n_tests), rel=1e-6)
    odds = (a + 0.5) * (d + 0.5) / ((b + 0.5) * (c + 0.5))
    error = math.sqrt(sum(1 / (cell + 0.5) for cell in (a, b, c, d)))
    assert found.odds_ratio == pytest.approx(odds)
    assert found.interval[0] == pytest.approx(math.exp(math.log(odds) - 1.959964 * error))
    assert found.interval[1] == pytest.approx(math.exp(math.log(odds) + 1.959964 * error))
    assert (found.n, found.n_span, found.n_cue, found.n_both) == (len(span), a + b, a + c, a)


def test_precision_and_recall_point_in_their_direction() -> None:
    span = np.array([True] * 4 + [False] * 6)
    cue = np.array([True] * 2 + [False] * 2 + [True] * 6)
    found = associate(span, cue, 1)
    assert found.precision == pytest.approx(2 / 8)
    assert found.recall == pytest.approx(2 / 4)


# Rules

TABLES = st.tuples(st.integers(8, 24), st.integers(1, 7), st.integers(0, 10**6))


def drawn(shape: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray, Incidence]:
    n, width, seed = shape
    rng = np.random.default_rng(seed)
    table = rng.random((n, width)) < rng.random(width)
    span = table[:, rng.integers(width)] ^ (rng.random(n) < 0.15)
    if rng.random() < 0.5:
        span &= table[:, rng.integers(width)]
    matrix = sp.csr_matrix(table.astype(np.float32))
    return span, table, incidence(matrix, [f"cue {i}" for i in range(width)])


@settings(deadline=None, max_examples=200)
@given(TABLES, st.integers(1, 3))
def test_a_rule_is_as_good_as_the_best_cue_and_the_best_pair(
    shape: tuple[int, int, int], min_support: int
) -> None:
    span, table, cues = drawn(shape)
    assume(0 < span.sum() < len(span))
    rule = best_rule(span, cues, min_support)
    there = [j for j in range(table.shape[1]) if (span & table[:, j]).sum() >= min_support]
    single = {j: correlation(span, table[:, j]) for j in there}
    best = max(single.values(), default=0.0)
    if best <= 1e-9:
        assert rule is None or rule.phi <= 1e-6
        return
    assert rule is not None
    assert rule.phi >= min(best, 0.995) - 0.003 - 1e-9
    common = [j for j in there if single[j] > 0 and (span & table[:, j]).sum() >= 0.8 * span.sum()]
    pairs = [correlation(span, table[:, i] & table[:, j]) for i, j in combinations(common, 2)]
    assert rule.phi >= min(max(pairs, default=0.0), 0.995) - 0.003 - 1e-9


@settings(deadline=None, max_examples=200)
@given(TABLES)
def test_a_rule_holds_where_its_features_say(shape: tuple[int, int, int]) -> None:
    span, table, cues = drawn(shape)
    rule = best_rule(span, cues, 1)
    if rule is None:
        return
    columns = table[:, rule.features]
    holds = np.asarray(columns.any(1) if rule.kind == "any_of" else columns.all(1))
    assert np.array_equal(rule.holds, holds)
    assert rule.phi == pytest.approx(correlation(span, holds), abs=1e-6)
    assert len(set(rule.features)) == len(rule.features) <= MAX_CUES


def table_of(*columns: list[int]) -> Incidence:
    matrix = sp.csr_matrix(np.array(columns, np.float32).T)
    return incidence(matrix, [str(i) for i in range(len(columns))])


def test_two_triggers_in_turn_make_a_list_of_alternatives() -> None:
    span = np.array([True] * 8 + [False] * 12)
    cues = table_of([1] * 4 + [0] * 16, [0] * 4 + [1] * 4 + [0] * 12, [1, 0] * 10)
    rule = best_rule(span, cues, 3)
    assert rule is not None
    assert (rule.kind, sorted(rule.features)) == ("any_of", [0, 1])
    assert rule.phi == pytest.approx(1.0)


def test_two_triggers_at_once_make_a_conjunction() -> None:
    span = np.array([True] * 8 + [False] * 12)
    cues = table_of([1] * 14 + [0] * 6, [1] * 8 + [0] * 6 + [1] * 6)
    rule = best_rule(span, cues, 3)
    assert rule is not None
    assert (rule.kind, sorted(rule.features)) == ("all_of", [0, 1])
    assert rule.phi == pytest.approx(1.0)


def test_no_rule_where_no_cue_goes_with_the_span() -> None:
    span = np.array([True] * 5 + [False] * 5)
    assert best_rule(span, table_of([0] * 5 + [1] * 5), 1) is None
    assert best_rule(span, table_of([1] * 2 + [0] * 8), 3) is None
