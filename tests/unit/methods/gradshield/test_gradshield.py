"""FIHS above what trusted and harmful data tell."""

import numpy as np
import pytest

from gradgate.methods.gradshield.config import GradshieldConfig
from gradgate.methods.gradshield.method import _threshold


def test_the_threshold_is_the_middle_and_above_nearly_all_of_the_reference() -> None:
    settings = GradshieldConfig()
    trusted = np.linspace(-1.0, 1.0, 101)
    assert _threshold(np.array([9.0, 10.0, 11.0]), trusted, settings) == 5.0
    wide = np.linspace(-8.0, 8.0, 101)
    assert _threshold(np.array([9.0, 10.0, 11.0]), wide, settings) == pytest.approx(7.68)
    assert _threshold(np.array([1.0, 2.0, 3.0]), wide, settings) is None
