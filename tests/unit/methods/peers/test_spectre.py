"""SPECTRE finds what hides in a direction of little variance, where one singular vector fails."""

import numpy as np
import pytest

from gradgate.common.arrays import Floats, Marks
from gradgate.methods.peers.judging import highest
from gradgate.methods.peers.spectral_signatures import outlier_scores
from gradgate.methods.peers.spectre import (
    _most_varying_form,
    _tail,
    quantum_scores,
    robust_rows,
)

EPSILON = 0.05


def shifted(m: int = 400, d: int = 16, shift: float = 6.0) -> tuple[Floats, Marks]:
    """Rows of falling variance; the first ones are shifted where there is least of it."""
    rng = np.random.default_rng(0)
    states = rng.standard_normal((m, d)) * np.geomspace(10, 1, d)
    is_poison = np.arange(m) < round(EPSILON * m)
    states[is_poison, -3:] = 0.3 * states[is_poison, -3:] + shift
    return states, is_poison


def recall(scores: Floats, is_poison: Marks) -> float:
    removed = highest(scores, round(1.5 * EPSILON * len(scores)))
    return float(removed[is_poison].mean())


@pytest.mark.parametrize("shift", [4.0, 6.0])
def test_whitening_shows_what_the_top_singular_vector_does_not(shift: float) -> None:
    states, is_poison = shifted(shift=shift)
    found = quantum_scores(states, EPSILON)
    assert found is not None
    assert recall(found[0], is_poison) >= 0.95
    assert found[1] > 3  # principal components: the shift is in the last ones
    assert recall(outlier_scores(states), is_poison) <= 0.2  # Spectral Signatures' known failure


def test_scores_do_not_depend_on_scale_place_or_order() -> None:
    states, _ = shifted(200, 8)
    order = np.random.default_rng(1).permutation(200)
    first, again = quantum_scores(states, EPSILON), quantum_scores(states[order] * 7 + 3, EPSILON)
    assert first is not None
    assert again is not None
    np.testing.assert_allclose(first[0][order], again[0], rtol=1e-3)


def test_the_filter_leaves_out_outliers_and_no_more_than_it_may() -> None:
    states, is_poison = shifted(400, 6, shift=40.0)
    rows = robust_rows(states - states.mean(axis=0), EPSILON)
    assert 400 - len(rows) <= round(2 * EPSILON * 400)
    assert is_poison[rows].mean() < is_poison.mean()
    honest = np.random.default_rng(0).standard_normal((400, 6))
    assert len(robust_rows(honest - honest.mean(axis=0), EPSILON)) == 400


def test_the_most_varying_form_is_the_dense_one() -> None:
    rng = np.random.default_rng(0)
    white = rng.standard_normal((300, 5))
    white[:30] *= np.array([2.0, 1, 1, 1, 0.1])
    values, vectors = np.linalg.eigh(white.T @ white / 300)
    white = white @ (vectors / np.sqrt(values)) @ vectors.T
    products = np.einsum("mi,mj->mij", white, white).reshape(300, -1)
    covariance = products.T @ products / 300 - np.outer(np.eye(5), np.eye(5))
    wanted, form = np.linalg.eigh(covariance)
    variance, found = _most_varying_form(white)
    assert variance == pytest.approx(wanted[-1], rel=1e-3)
    assert abs((found.ravel() * form[:, -1]).sum()) == pytest.approx(1, abs=1e-2)


def test_the_published_tail() -> None:
    assert _tail(10 * np.log(20), EPSILON) == 1
    assert _tail(40.0, EPSILON) == pytest.approx(3 * EPSILON / (40 * np.log(40)) ** 2)


def test_equal_rows_have_no_scores() -> None:
    assert quantum_scores(np.ones((40, 4)), EPSILON) is None
