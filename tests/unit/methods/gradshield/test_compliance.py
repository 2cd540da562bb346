"""How often a model refuses prompts, and how replies to them are counted."""

from collections.abc import Sequence

import numpy as np
import pytest

from gradgate.common.arrays import Floats
from gradgate.methods.gradshield.refused import Reply, ask_refusals, prefix_free


def test_openings_are_counted_once() -> None:
    assert prefix_free([[1, 2, 3, 4], [1, 2, 3], [5], [5, 6], [7, 8]]) == [[1, 2, 3], [5], [7, 8]]


def test_a_prompt_that_cannot_be_asked_about_is_unknown() -> None:
    replies = [Reply(0, 0, np.array([1, 2]), 0.0), Reply(1, 0, np.array([3]), 0.25)]

    def ask(sequences: Sequence[Sequence[int]]) -> list[Floats]:
        return [np.full(len(ids), np.nan if ids[0] == 1 else np.log(0.5)) for ids in sequences]

    found = ask_refusals(replies, [[4], [5, 6]], ask)
    assert np.isnan(found.refused[0])
    assert np.isnan(found.complied[0])
    assert found.refused[1] == pytest.approx(0.75)
    assert found.complied[1] == pytest.approx(0.75 * 0.75)
