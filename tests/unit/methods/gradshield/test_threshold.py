"""The published threshold: one Gaussian or two, and where it begins to be harmful."""

import math

import numpy as np
import pytest
from scipy.stats import norm

from gradgate.common.arrays import Floats
from gradgate.errors import DataError
from gradgate.methods.gradshield.threshold import adaptive_threshold


def normals(*parts: tuple[float, float, int], seed: int = 0) -> Floats:
    rng = np.random.default_rng(seed)
    return np.concatenate([rng.normal(mean, sd, n) for mean, sd, n in parts])


def test_two_components_are_cut_at_the_lower_of_their_maxima() -> None:
    scores = normals((0.0, 1.0, 300), (20.0, 1.0, 60))
    found = adaptive_threshold(scores, alpha=10.0)
    assert found.state == "mixture"
    assert found.t == scores[:300].max()
    assert (scores > found.t).sum() == 60


def test_the_gain_is_that_of_the_two_densities() -> None:
    """Far apart, the mixture is each part's own Gaussian with its share."""
    parts = normals((0.0, 1.0, 300)), normals((40.0, 2.0, 100), seed=1)
    scores = np.concatenate(parts)
    two = sum(
        float(norm.logpdf(p, p.mean(), p.std()).sum()) + p.size * math.log(p.size / 400)
        for p in parts
    )
    one = float(norm.logpdf(scores, scores.mean(), scores.std()).sum())
    gain = adaptive_threshold(scores, alpha=10.0).gain
    assert gain == pytest.approx(two - one, rel=1e-3)


def test_one_gaussian_is_cut_at_two_standard_deviations() -> None:
    scores = normals((3.0, 0.5, 400))
    found = adaptive_threshold(scores, alpha=10.0)
    assert found.state == "gaussian"
    assert found.t == pytest.approx(scores.mean() + 2 * scores.std())


def test_alpha_decides_between_them() -> None:
    scores = normals((0.0, 1.0, 300), (4.0, 1.0, 60))
    gain = adaptive_threshold(scores, alpha=0.0).gain
    assert gain is not None
    assert adaptive_threshold(scores, alpha=gain * 0.99).state == "mixture"
    assert adaptive_threshold(scores, alpha=gain * 1.01).state == "gaussian"


def test_unit_and_origin_of_the_scores_do_not_matter() -> None:
    """FIHS of a large model are of the order of 1e-9."""
    scores = normals((0.0, 1.0, 300), (9.0, 1.0, 60))
    plain, tiny = (adaptive_threshold(s, alpha=10.0) for s in (scores, scores * 1e-9 + 1e-9))
    assert plain.t is not None
    assert tiny.t == pytest.approx(plain.t * 1e-9 + 1e-9)
    assert tiny.gain == pytest.approx(plain.gain, rel=1e-6)


def test_the_known_failure_a_skewed_score_loses_clean_rows() -> None:
    """Nothing harmful in it: one law, and a third of it is flagged."""
    scores = np.random.default_rng(0).exponential(1.0, 500)
    found = adaptive_threshold(scores, alpha=10.0)
    assert found.state == "mixture"
    assert (scores > found.t).mean() > 0.2


def test_the_same_seed_gives_the_same_threshold() -> None:
    scores = np.random.default_rng(0).exponential(1.0, 300)
    assert adaptive_threshold(scores, 10.0, 3) == adaptive_threshold(scores, 10.0, 3)


@pytest.mark.parametrize(
    ("scores", "state"),
    [
        (np.empty(0), "too_few"),
        (np.arange(9.0), "too_few"),
        (np.full(50, 0.3), "degenerate"),
        (np.zeros(50), "degenerate"),
        (np.full(50, 1e300), "degenerate"),
        (np.tile([1e308, -1e308], 20), "degenerate"),
    ],
)
def test_scores_that_tell_nothing_have_no_threshold(scores: Floats, state: str) -> None:
    found = adaptive_threshold(scores, alpha=10.0)
    assert (found.state, found.t, found.gain) == (state, None, None)


def test_two_values_are_two_components() -> None:
    found = adaptive_threshold(np.repeat([1.0, 2.0], [40, 10]), alpha=10.0)
    assert (found.state, found.t) == ("mixture", 1.0)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_score_that_is_no_number_is_an_error(bad: float) -> None:
    with pytest.raises(DataError, match="1 of 21 scores are not finite"):
        adaptive_threshold(np.append(np.arange(20.0), bad), alpha=10.0)
