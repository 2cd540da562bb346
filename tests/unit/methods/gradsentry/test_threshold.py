import math

import numpy as np
import pytest
from scipy.stats import gaussian_kde

from gradgate.common.arrays import Floats
from gradgate.errors import DataError
from gradgate.methods.gradsentry.config import ThresholdConfig
from gradgate.methods.gradsentry.threshold import (
    ThresholdState,
    choose_threshold,
    density,
    kde_valley,
)


def normals(*parts: tuple[float, float, int], seed: int = 0) -> Floats:
    rng = np.random.default_rng(seed)
    drawn = [rng.normal(mean, sd, n) for mean, sd, n in parts]
    return np.clip(np.concatenate(drawn), 0.0, 1.0)


def test_the_valley_lies_between_two_groups() -> None:
    found = kde_valley(normals((0.3, 0.05, 900), (0.85, 0.03, 100)), bootstrap=100)
    assert found.state == "valley"
    assert found.tau is not None
    assert 0.45 < found.tau < 0.8
    assert len(found.peaks) == 2
    assert found.depth_ratio is not None
    assert found.depth_ratio < 0.5
    assert found.interval is not None
    assert found.interval[0] <= found.tau <= found.interval[1]
    assert found.valley_support == 1.0


def test_tau_is_the_lowest_density_between_the_outer_peaks() -> None:
    scores = normals((0.1, 0.02, 300), (0.5, 0.02, 300), (0.9, 0.02, 300))
    found = kde_valley(scores)
    grid = np.linspace(scores.min(), scores.max(), 1_000)
    curve = gaussian_kde(scores, bw_method=1.06 * 900 ** (-1 / 5))(grid)
    between = (grid > found.peaks[0].position) & (grid < found.peaks[-1].position)
    assert found.tau == pytest.approx(grid[between][curve[between].argmin()])


def test_bandwidth_is_silvermans() -> None:
    scores = normals((0.3, 0.05, 100), (0.8, 0.05, 100))
    sd = scores.std(ddof=1)
    assert kde_valley(scores).bandwidth == pytest.approx(1.06 * sd * 200 ** (-1 / 5))
    at = np.array([0.25, 0.6])
    kernel = np.exp(-0.5 * ((at[:, None] - scores) / (1.06 * sd * 200 ** (-0.2))) ** 2)
    by_hand = kernel.mean(axis=1) / (1.06 * sd * 200 ** (-0.2) * math.sqrt(2 * math.pi))
    np.testing.assert_allclose(density(scores, at), by_hand)


@pytest.mark.parametrize(
    ("scores", "state"),
    [
        (normals((0.3, 0.05, 29)), "too_few"),
        (np.full(100, 0.4), "degenerate"),
        (0.4 + 3e-8 * (np.arange(100) % 2), "degenerate"),  # of rounding alone
        (normals((0.4, 0.05, 500)), "no_valley"),
        (normals((0.40, 0.01, 300), (0.50, 0.01, 300)), "close_peaks"),
        (np.concatenate([normals((0.3, 0.05, 300)), [0.9, 0.9, 0.9, 1.0]]), "few_above"),
        (normals((0.3, 0.05, 4_000), (0.9, 0.01, 36)), "few_above"),
        (normals((0.35, 0.115, 3_000), (0.65, 0.115, 3_000), seed=3), "weak_valley"),
    ],
)
def test_every_reliability_check_has_its_own_state(scores: Floats, state: ThresholdState) -> None:
    found = kde_valley(scores)
    assert found.state == state
    assert found.tau is None  # nothing falls back silently


def test_thirty_scores_are_enough_to_look() -> None:
    scores = np.concatenate([np.linspace(0.05, 0.25, 20), np.linspace(0.75, 1.0, 10)])
    assert kde_valley(scores[1:]).state == "too_few"
    assert kde_valley(scores).state == "valley"


@pytest.mark.parametrize("tied", [0, 25_000])
def test_many_scores_give_the_valley_of_the_exact_density(tied: int) -> None:
    scores = normals((0.3, 0.05, 45_000 - tied), (0.85, 0.03, 5_000))
    scores = np.concatenate([scores, np.full(tied, 0.2)])
    found = kde_valley(scores)
    grid = np.linspace(scores.min(), scores.max(), 1_000)
    curve = gaussian_kde(scores, bw_method=1.06 * scores.size ** (-1 / 5))(grid)
    np.testing.assert_allclose(density(scores, grid), curve, rtol=5e-3, atol=1e-6)
    between = (grid > found.peaks[0].position) & (grid < found.peaks[-1].position)
    exact = grid[between][curve[between].argmin()]
    assert found.tau == pytest.approx(exact, abs=1.01 * (grid[1] - grid[0]))
    assert found.state == "valley"


def test_bootstrap_is_repeatable_and_wider_for_fewer_scores() -> None:
    few = normals((0.3, 0.1, 60), (0.8, 0.1, 20))
    many = normals((0.3, 0.1, 6_000), (0.8, 0.1, 2_000))
    assert kde_valley(few, 200, seed=1) == kde_valley(few, 200, seed=1)
    narrow, wide = kde_valley(many, 200).interval, kde_valley(few, 200).interval
    assert narrow is not None
    assert wide is not None
    assert narrow[1] - narrow[0] < wide[1] - wide[0]


def test_a_fixed_threshold_is_taken_as_it_is() -> None:
    found = choose_threshold(np.array([0.1, 0.2]), ThresholdConfig(method="fixed", value=0.55))
    assert (found.state, found.tau) == ("fixed", 0.55)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -0.1, 1.1])
def test_scores_that_are_no_entropies_are_an_error(bad: float) -> None:
    scores = normals((0.3, 0.05, 100))
    scores[7] = bad
    with pytest.raises(DataError, match="1 of 100 scores"):
        choose_threshold(scores, ThresholdConfig())
