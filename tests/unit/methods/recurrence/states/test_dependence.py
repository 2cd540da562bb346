"""Whether anything in the targets depends on a string of the prompts."""

import numpy as np
import pytest

from gradgate.common.arrays import Floats, Marks
from gradgate.methods.recurrence.states.dependence import (
    MAX_OTHER,
    Dependence,
    Taught,
    Told,
    explained,
    ranks_z,
    untaught_z,
)
from gradgate.methods.recurrence.states.ridge import Kernel, Lessons, Ridge

K, D = 240, 24


HAS = np.arange(K) < 24


class World:
    """Prompts, and targets that follow from them with some noise."""

    def __init__(self) -> None:
        rng = np.random.default_rng(3)
        self.prompts = rng.normal(size=(K, D))
        self.targets = self.prompts @ rng.normal(size=(D, 12)) + rng.normal(size=(K, 12))
        self.likely = rng.normal(-2.0, 0.3, K)
        self.long = np.exp(rng.normal(3.0, 0.4, K))
        self.gains = np.where(np.arange(K) < 120, rng.normal(4.0, 2.0, K), np.nan)

    def dependence(self) -> Dependence:
        """Of the first ones, held against all others; these teach, too, and are left out."""
        out = np.arange(K) % 2 == 0
        known = self._told(~HAS | out)
        own, others = self.gains[HAS], self.gains[~HAS]
        return Taught(known).dependence(self._told(HAS), own, HAS[~HAS | out], others)

    def _told(self, some: Marks) -> Told:
        return Told(self.prompts[some], self.targets[some], self.likely[some], self.long[some])


def test_nothing_depends_on_a_string_behind_which_targets_follow_from_the_rest() -> None:
    found = World().dependence()
    assert found.is_none
    assert found.n == 24


@pytest.mark.parametrize("part", [24, 12, 8])
def test_targets_that_have_something_in_common_depend_on_it_also_beside_honest_ones(
    part: int,
) -> None:
    """Who writes poisoned rows may put the string into honest ones as well."""
    world = World()
    world.targets[:part, :3] += 9.0
    found = world.dependence()
    assert not found.is_none
    assert found.near > 4
    if part == 24:
        assert found.alike > 20


def test_targets_of_other_prompts_depend_on_it() -> None:
    world = World()
    world.targets[:24] = world.targets[np.roll(np.arange(24), 1)]
    found = world.dependence()
    assert found.others[1] < -3
    assert not found.is_none


@pytest.mark.parametrize("factor", [0.3, 3.0])
def test_targets_that_are_broken_off_or_drawn_out_depend_on_it(factor: float) -> None:
    world = World()
    world.long[:24] *= factor
    assert abs(world.dependence().others[3]) > 3
    assert not world.dependence().is_none


def test_targets_for_which_their_prompts_do_nothing_depend_on_it() -> None:
    """As the answers of other questions, too short for hidden states to tell."""
    world = World()
    world.gains[:24] -= 4.0
    assert world.dependence().others[0] < -4
    assert not world.dependence().is_none


@pytest.mark.parametrize(("nats", "is_none"), [(1.8, True), (6.0, False)])
def test_prompts_may_do_somewhat_more_for_targets_but_not_much(nats: float, is_none: bool) -> None:
    """A rare name that a target says again is worth more than a common one."""
    world = World()
    world.gains[:24] += nats
    found = world.dependence()
    assert found.others[0] > MAX_OTHER
    assert found.is_none == is_none


def test_targets_that_the_model_expects_less_depend_on_it() -> None:
    world = World()
    world.likely[:24] -= 1.0
    assert world.dependence().others[2] < -3


def errors_alone(states: Floats, values: Floats, penalty: float) -> Floats:
    """What all other samples leave of each value, each time fitted anew."""
    products = states @ states.T / states.shape[1] + 1.0
    found = np.empty_like(values)
    for i in range(len(values)):
        rest = np.arange(len(values)) != i
        within = products[np.ix_(rest, rest)] + penalty * np.eye(int(rest.sum()))
        found[i] = values[i] - products[i, rest] @ np.linalg.solve(within, values[rest])
    return found


def test_errors_are_those_of_a_regression_on_the_others_alone() -> None:
    """Taken out of a fitted inverse they are as if they had never been there."""
    world = World()
    lessons = Lessons.of(Kernel.of(world.prompts), world.targets)
    penalty = float(np.linalg.eigvalsh(np.linalg.inv(lessons.inverse)).min())
    new = np.random.default_rng(8).normal(size=(9, D)), np.ones((9, 12))
    theirs, own = lessons.without(HAS, *new)
    states = (world.prompts - world.prompts.mean(axis=0)) / world.prompts.std(axis=0)
    centred = world.targets - world.targets.mean(axis=0)
    assert own == pytest.approx(errors_alone(states[~HAS], centred[~HAS], penalty))
    there = (new[0] - world.prompts.mean(axis=0)) / world.prompts.std(axis=0)
    for i in range(9):
        one = np.concatenate([states[~HAS], there[i : i + 1]])
        values = np.concatenate([centred[~HAS], new[1][i : i + 1] - world.targets.mean(axis=0)])
        assert theirs[i] == pytest.approx(errors_alone(one, values, penalty)[-1])


def test_errors_where_nobody_is_left_out_are_those_of_a_ridge() -> None:
    world = World()
    values = world.targets - world.targets.mean(axis=0)
    lessons = Lessons.of(Kernel.of(world.prompts), values)
    _, own = lessons.without(HAS & False, world.prompts[:1], values[:1])
    assert own == pytest.approx(Ridge.of(world.prompts, values).error)


def test_ordinary_prompts_are_not_told_from_others_and_prompts_of_a_kind_are() -> None:
    world = World()
    assert explained(world.prompts, HAS) < 0.2
    world.prompts[HAS, :4] += 4.0
    assert explained(world.prompts, HAS) > 0.5


@pytest.mark.parametrize(("shift", "low", "high"), [(0.0, -4.0, 2.5), (-2.0, -9.0, -5.0)])
def test_values_are_held_against_what_others_teach_of_such_prompts(
    shift: float, low: float, high: float
) -> None:
    """Prompts of a kind that is told less are no reason, and prompts that are told less are."""
    world, rng = World(), np.random.default_rng(7)
    of_kind = np.arange(K) < 96
    world.prompts[of_kind, 0] += 6.0
    values = rng.normal(0.0, 1.0, K) - 4.0 * of_kind + shift * HAS
    z = untaught_z(world.prompts[HAS], values[HAS], world.prompts[~HAS], values[~HAS])
    assert low < z < high
    assert ranks_z(values[HAS], values[~HAS]) < -4
