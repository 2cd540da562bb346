"""Units of work, and how they are shared out."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradgate.data.tokens import Tokens
from gradgate.gradients.prefix_tree.stretches import stretches
from gradgate.scoring.shards.place import Shard
from gradgate.scoring.shards.units import Unit, cut, digest_of, unit_of, units_of

IDS = st.lists(st.lists(st.integers(0, 2), min_size=2, max_size=12), min_size=1, max_size=40)


def samples_of(ids: list[list[int]]) -> list[Tokens]:
    distinct = sorted({tuple(row) for row in ids})
    return [Tokens([*row], [False] + [True] * (len(row) - 1)) for row in distinct]


@given(IDS, st.integers(1, 40))
def test_units_hold_every_sample_once_in_order(ids: list[list[int]], unit_tokens: int) -> None:
    samples = samples_of(ids)
    units = list(cut(samples, unit_tokens))
    assert [one for unit, _ in units for one in unit] == samples
    for unit, n_tokens in units:
        computed = sum(len(stretch.tokens) for stretch in stretches(unit, 10_000))
        assert n_tokens == computed
        assert len(unit) == 1 or n_tokens <= 1.25 * unit_tokens


def test_a_unit_is_cut_where_the_shortest_prefix_is_shared() -> None:
    groups = [[[g, g, g, g, i, 9, 9] for i in range(7)] for g in range(6)]
    samples = samples_of([row for group in groups for row in group])
    units = [unit for unit, _ in cut(samples, 20)]
    assert len(units) == 6
    for unit in units:
        assert len({one.input_ids[0] for one in unit}) == 1


def test_a_long_sample_is_a_unit_of_its_own() -> None:
    samples = samples_of([[1, 1], [2] * 500, [3, 3]])
    assert [len(unit) for unit, _ in cut(samples, 10)] == [1, 1, 1]


def described(sizes: list[int]) -> list[Unit]:
    return [Unit(first, 1, size, bytes(32)) for first, size in enumerate(sizes)]


@given(st.lists(st.integers(1, 1_000), min_size=1, max_size=60), st.integers(1, 20))
def test_shards_hold_every_unit_once_in_order(sizes: list[int], count: int) -> None:
    ranges = [units_of(Shard(index, count), described(sizes)) for index in range(count)]
    assert ranges[0].start == 0
    assert ranges[-1].stop == len(sizes)
    assert all(one.stop == other.start for one, other in pairwise(ranges))


def test_shards_have_about_the_same_work() -> None:
    sizes = np.random.default_rng(0).integers(20_000, 41_000, 5_000).tolist()
    units = described(sizes)
    tokens = [sum(units[n].n_tokens for n in units_of(Shard(i, 64), units)) for i in range(64)]
    assert max(tokens) < 1.02 * sum(sizes) / 64


@pytest.mark.parametrize("change", ["sample", "border", "order"])
def test_the_digest_is_of_samples_order_and_borders(change: str) -> None:
    samples = samples_of([[1, 2], [1, 3], [2, 2], [2, 3]])
    units = [unit_of(0, samples[:2], 4), unit_of(2, samples[2:], 4)]
    changed = {
        "sample": [units[0], unit_of(2, samples_of([[2, 2], [2, 4]]), 4)],
        "border": [unit_of(0, samples[:3], 4), unit_of(3, samples[3:], 4)],
        "order": units[::-1],
    }[change]
    assert digest_of(changed) != digest_of(units)
