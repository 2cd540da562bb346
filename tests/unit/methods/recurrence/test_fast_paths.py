"""What is computed in fewer passes, against the libraries and loops whose place it takes."""

import numpy as np
import pytest
from datasketch import MinHash, MinHashLSH
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.stats import mannwhitneyu

from gradgate.common.arrays import Ints, distinct, n_distinct
from gradgate.methods.recurrence.contrasts import Ranked
from gradgate.methods.recurrence.cues.lazy import Chained, Lazy
from gradgate.methods.recurrence.samples.near_duplicates import JACCARD, clusters
from gradgate.methods.recurrence.strings.stream import tokens_of


def slow_links(rows: Ints) -> Ints:
    """Components of the pairs that datasketch finds."""
    index = MinHashLSH(threshold=JACCARD, num_perm=64)
    pairs: list[tuple[int, int]] = []
    for i, row in enumerate(rows):
        one = MinHash(num_perm=64)
        one.update_batch([int(gram).to_bytes(8, "little") for gram in set(row.tolist())])
        pairs += [(i, alike) for alike in index.query(one)]
        index.insert(i, one)
    places = tuple(np.array(pairs, np.int64).reshape(-1, 2).T)
    links = coo_array((np.ones(len(pairs)), places), shape=(len(rows), len(rows)))
    _, found = connected_components(links, directed=False)
    return found.astype(np.int64)


def test_near_duplicates_are_those_of_datasketch() -> None:
    rng = np.random.default_rng(8)
    rows = rng.integers(0, 5_000, (120, 20))
    for i in range(0, 120, 4):
        rows[i + 1] = rows[i]
        rows[i + 1, : i // 12] = rng.integers(5_000, 6_000, i // 12)
    found = clusters(rows.ravel(), np.repeat(np.arange(120), 20), 120)
    slow = slow_links(rows)
    assert len(distinct(found)) == len(distinct(slow)) < 110
    assert len(distinct(found * 1_000 + slow)) == len(distinct(slow))


@pytest.mark.parametrize("n_values", [5, 10_000])
def test_a_contrast_is_the_test_of_mann_and_whitney(n_values: int) -> None:
    rng = np.random.default_rng(9)
    values = rng.integers(0, n_values, 300).astype(np.float64)
    values[::17] = np.nan
    inside = rng.random(300) < 0.2
    found = Ranked.of("loss", values).contrast(inside)
    known = np.isfinite(values)
    here, there = values[known & inside], values[known & ~inside]
    slow = mannwhitneyu(here, there, alternative="two-sided", method="asymptotic")
    assert found is not None
    assert found.auroc == pytest.approx(slow.statistic / (len(here) * len(there)))
    assert found.p_value == pytest.approx(slow.pvalue)
    assert Ranked.of("loss", values).contrast(np.zeros(300, bool)) is None
    same = Ranked.of("loss", np.ones(300)).contrast(inside)
    assert same is not None
    assert same.p_value == 1.0


def test_distinct_values_and_groups() -> None:
    rng = np.random.default_rng(10)
    values, groups = rng.integers(0, 50, (2, 400))
    assert distinct(values).tolist() == np.unique(values).tolist()
    assert distinct(values[:0]).tolist() == []
    slow = [len(set(groups[values == i].tolist())) for i in range(60)]
    assert n_distinct(values, groups, 60).tolist() == slow


def test_names_are_made_when_they_are_asked_for() -> None:
    made: list[int] = []

    def spell(key: int) -> str:
        made.append(key)
        return f"<{key}>"

    names = Chained([Lazy(np.array([4, 7, 9]), spell), ["a"], []])
    assert len(names) == 4
    assert made == []
    assert [names[2], names[3], names[2]] == ["<9>", "a", "<9>"]
    assert made == [9]
    assert names[1:] == ["<7>", "<9>", "a"]
    with pytest.raises(IndexError):
        names[4]


def test_the_tokens_of_places() -> None:
    at = np.array([[3, 5], [9, 9], [20, 23]])
    assert tokens_of(at).tolist() == [3, 4, 20, 21, 22]
    assert tokens_of(at[:0]).tolist() == []
