"""How alike the states of samples are."""

import numpy as np
import pytest
from scipy.stats import norm

from gradgate.methods.recurrence.states.likeness import few_pairs_z


@pytest.mark.parametrize(("m", "found"), [(8, 2), (8, 3), (24, 10)])
def test_the_deviate_of_few_pairs_has_the_p_of_random_draws(m: int, found: int) -> None:
    """Of eight samples hardly one pair is expected: three standard deviations are three pairs."""
    rng = np.random.default_rng(0)
    k = 300
    drawn = rng.random((k, k)) < 0.016
    are_pairs = np.triu(drawn, 1) | np.triu(drawn, 1).T
    draws = [rng.choice(k, m, replace=False) for _ in range(20_000)]
    counts = np.array([are_pairs[np.ix_(some, some)].sum() // 2 for some in draws])
    p = float(np.mean(counts >= found))
    assert 0.005 < p < 0.1
    some = draws[int(np.flatnonzero(counts == found)[0])]
    assert few_pairs_z(are_pairs, some) == pytest.approx(norm.isf(p), abs=0.2)


def test_all_pairs_there_are_give_a_number() -> None:
    are_pairs = np.zeros((200, 200), bool)
    are_pairs[:20, :20] = ~np.eye(20, dtype=bool)
    assert 30 < few_pairs_z(are_pairs, np.arange(20)) < 40
    assert few_pairs_z(are_pairs, np.arange(20, 60)) == -np.inf
