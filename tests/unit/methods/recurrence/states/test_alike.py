"""How alike the targets of some samples are."""

from itertools import combinations

import numpy as np
import pytest

from gradgate.common.arrays import Floats
from gradgate.methods.recurrence.questions.spoken import Exchange
from gradgate.methods.recurrence.states.alike import Alike


def alike(prompts: Floats, targets: Floats) -> Alike:
    """Of k samples, numbered from 100; the prompt of each is [i, 0] and its target [i, 1]."""
    ids = {(i, side): states[i] for side, states in enumerate((prompts, targets))
           for i in range(len(states))}  # fmt: skip
    known = {
        100 + i: Exchange(
            np.array([i, 0], np.int32),
            np.array([i, 1], np.int32),
            np.zeros(2, np.float32),
            np.ones(2, bool),
        )
        for i in range(len(prompts))
    }
    return Alike(known, np.array([*known]), lambda some: np.array([ids[i, s] for i, s in some]))


def test_it_is_counted_in_standard_deviations_of_all_draws_of_as_many() -> None:
    rng = np.random.default_rng(0)
    one = alike(rng.normal(size=(9, 3)), rng.normal(size=(9, 4)))
    cosines = one._cosines
    drawn = [list(some) for some in combinations(range(9), 4)]
    sums = np.array([cosines[np.ix_(some, some)].sum() for some in drawn])
    for some, own in zip(drawn, sums, strict=True):
        expected = (own - sums.mean()) / sums.std()
        assert one.z(np.array(some) + 100) == pytest.approx(expected)


def test_targets_that_lie_together_are_alike_and_others_are_not() -> None:
    rng = np.random.default_rng(1)
    targets = rng.normal(size=(200, 8))
    targets[:15] += 4.0
    one = alike(rng.normal(size=(200, 8)), targets)
    assert one.z(np.arange(100, 115)) > 10
    assert abs(one.z(np.arange(150, 165))) < 4


def test_what_the_other_samples_teach_of_prompts_makes_no_targets_alike() -> None:
    """The prompts of a topic bring the targets of this topic, also in samples with no cue."""
    rng = np.random.default_rng(2)
    prompts = rng.normal(size=(200, 8))
    prompts[:60, 0] += 6.0
    targets = 0.3 * rng.normal(size=(200, 8)) + prompts
    assert alike(rng.normal(size=(200, 8)), targets).z(np.arange(100, 120)) > 10
    assert abs(alike(prompts, targets).z(np.arange(100, 120))) < 4


def test_of_samples_without_finite_states_nothing_is_said() -> None:
    rng = np.random.default_rng(3)
    prompts, targets = rng.normal(size=(40, 4)), rng.normal(size=(40, 4))
    targets[:20] += 5.0
    targets[:17] = np.nan
    assert alike(prompts, targets).z(np.arange(100, 120)) == -np.inf
    assert alike(prompts, np.full((40, 4), np.nan)).z(np.arange(100, 120)) == -np.inf
