"""Which rows are rehearsed, and in which fold."""

import numpy as np
import pytest

from gradgate.methods.rehearsal import folds
from gradgate.methods.rehearsal.folds import choose, near_duplicates, split


def test_members_come_with_as_many_others_and_a_group_lies_in_both_folds() -> None:
    group = np.zeros(400, np.int64)
    group[:60] = 1
    usable = np.ones(400, bool)
    usable[:4] = False
    rows = choose(group, [1], usable, max_rows=512, seed=0)
    assert not np.isin(np.arange(4), rows).any()
    assert (group[rows] == 1).sum() == 56
    assert (group[rows] == 0).sum() == 64
    folds = split(rows, np.arange(len(rows)), group[rows], seed=0)
    for fold in range(2):
        held_out, seen = folds.held_out(fold), folds.trained_on(fold)
        assert not np.isin(held_out, seen).any()
        assert (group[held_out] == 1).sum() == 28


def test_near_duplicates_lie_in_one_fold() -> None:
    rows = np.arange(40)
    cluster = np.repeat(np.arange(10), 4)
    folds = split(rows, cluster, np.zeros(40, np.int64), seed=3)
    for number in range(10):
        assert len(set(folds.fold[cluster == number])) == 1
    assert {len(folds.held_out(fold)) for fold in range(2)} == {20}


def test_rows_are_bounded_and_the_same_for_the_same_seed() -> None:
    group = np.repeat([1, 2, 0], 1_000)
    rows = choose(group, [1, 2], np.ones(3_000, bool), max_rows=100, seed=1)
    assert len(rows) == 100
    assert (group[rows] == 1).sum() == (group[rows] == 2).sum() == 25
    again = choose(group, [1, 2], np.ones(3_000, bool), max_rows=100, seed=1)
    assert np.array_equal(rows, again)


def test_words_are_numbered_in_a_fixed_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """The order of a set of words is another one in each process, and clusters depend on it."""
    seen = list[list[int]]()
    monkeypatch.setattr(folds, "clusters", lambda grams, sample, n: seen.append(grams.tolist()))
    near_duplicates(["who was the first king of the land", "a land of the king"])
    assert seen == [[0, 1, 2, 3, 4, 5, 6, 7, 1, 2, 3, 4]]
