"""Time and peak memory of a block."""

import time

import numpy as np
import pytest
import torch

from gradgate.compare.cost import Meter

MIB = 1 << 20


@pytest.mark.parametrize("library", ["numpy", "torch"])
def test_memory_that_is_given_back_within_the_block_is_seen(library: str) -> None:
    with Meter() as meter:
        array: object = np.ones(200 * MIB // 8) if library == "numpy" else torch.ones(50 * MIB)
        time.sleep(0.05)
        del array
        time.sleep(0.02)
    assert 190 < meter.cost.peak_mib < 230
    assert 0.07 < meter.cost.seconds < 5


def test_what_was_held_before_does_not_count_and_each_window_is_its_own() -> None:
    held = np.ones(200 * MIB // 8)
    with Meter() as meter:
        time.sleep(0.02)
    assert meter.cost.peak_mib < 20
    assert held[0] == 1


def test_a_block_that_breaks_has_its_cost() -> None:
    meter = Meter()
    with pytest.raises(ValueError, match="late"), meter:
        _break_late()
    assert meter.cost.seconds >= 0.01


def _break_late() -> None:
    time.sleep(0.01)
    raise ValueError("late")
