"""How many samples with a cue count as evidence."""

import numpy as np
import pytest

from gradgate.methods.recurrence.cues.counted import counted


@pytest.mark.parametrize(
    ("n", "n_asked", "expected"),
    [
        (10, 5_000, 10),
        (48, 5_000, 48),
        (200, 2_048, 50),
        (200, 4_096, 48),
        (1_024, 2_048, 256),
        (300, 512, 300),
        (60, 100, 60),
        (0, 0, 0),
    ],
)
def test_few_samples_all_count_and_many_as_among_512(n: int, n_asked: int, expected: int) -> None:
    assert counted(np.array([n], np.float64), n_asked).tolist() == [expected]


def test_more_samples_never_count_less() -> None:
    n = np.arange(0, 4_097, dtype=np.float64)
    for n_asked in (512, 600, 2_048, 4_096):
        assert (np.diff(counted(n[: n_asked + 1], n_asked)) >= 0).all()


def test_of_how_many_all_count_is_asked_for() -> None:
    assert counted(np.array([10, 33, 400], np.float64), 4_096, few=20).tolist() == [10, 20, 50]
