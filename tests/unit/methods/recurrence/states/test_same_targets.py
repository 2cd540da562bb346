"""Whether targets here are as those there: by what they say, and by what prompts do for them."""

from dataclasses import replace

import numpy as np
import pytest

from gradgate.common.arrays import Floats, Marks
from gradgate.methods.recurrence.states.same_targets import (
    MIN_SAME,
    Behind,
    _distances,
    _energies,
    p_same,
)


def behind(n: int, seed: int, n_other: int = 0, gain: float = 0.0) -> Behind:
    """Targets about one thing, some about another one."""
    rng = np.random.default_rng(seed)
    states = rng.normal(size=(n, 16))
    states[:, 0] += 3.0
    states[:n_other, 1] += 6.0
    return Behind(states, rng.normal(size=n) + gain, rng.normal(size=128))


def n_other(**changed: float) -> int:
    """In how many of a hundred draws they are taken for others."""
    each = ((behind(40, i, **changed), behind(15, 1_000 + i)) for i in range(100))  # type: ignore[arg-type]
    return sum(p_same(*both, seed=0) <= MIN_SAME for both in each)


def test_of_one_law_they_are_seldom_taken_for_others() -> None:
    assert n_other() <= 11  # five are expected; more are a chance of 0.4 %


@pytest.mark.parametrize("changed", [{"n_other": 16}, {"gain": 2.0}])
def test_what_differs_is_found(changed: dict[str, float]) -> None:
    assert n_other(**changed) >= 90


def test_what_other_prompts_do_to_all_targets_is_no_difference() -> None:
    """Here each target was put behind a prompt that suits it badly, the string or not."""
    here, there = behind(40, 1), behind(15, 2)
    shifted = replace(here, gains=here.gains + 2.0, others=here.others + 2.0)
    assert p_same(shifted, there, seed=0) == p_same(here, there, seed=0) > MIN_SAME


def test_what_is_not_known_is_not_the_same() -> None:
    unknown = replace(behind(40, 1), gains=np.full(40, np.nan))
    assert p_same(unknown, behind(15, 2), seed=0) == 0.0
    assert p_same(behind(15, 2), unknown, seed=0) == 0.0
    alone = replace(behind(40, 1), others=np.full(128, np.nan))
    assert p_same(alone, behind(15, 2), seed=0) == 0.0


def energy(far: Floats, is_here: Marks) -> float:
    """The slow oracle of one way, by its definition."""
    here, there = far[is_here], far[~is_here]
    across, within, beside = here[:, ~is_here], here[:, is_here], there[:, ~is_here]
    return float(2 * across.mean() - within.mean() - beside.mean())


def distance(far: Floats, is_here: Marks) -> float:
    """The same: the mean over those here of their nearest three there."""
    each = [sorted(far[i][~is_here])[:3] for i in np.flatnonzero(is_here)]
    return float(np.mean([np.mean(nearest) for nearest in each]))


def test_the_figures_of_all_ways_are_those_of_each() -> None:
    rng = np.random.default_rng(5)
    far = rng.random((21, 21))
    far = far + far.T
    np.fill_diagonal(far, 0.0)
    ways = np.stack([rng.permutation(21) < 8 for _ in range(50)])
    np.testing.assert_allclose(_distances(far, ways), [distance(far, one) for one in ways])
    np.testing.assert_allclose(_energies(far, ways), [energy(far, one) for one in ways])
