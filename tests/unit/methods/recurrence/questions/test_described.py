"""What a model makes of token sequences is asked once."""

from collections.abc import Sequence

import numpy as np
import pytest

from gradgate.common.arrays import Floats
from gradgate.methods.recurrence.questions import described
from gradgate.methods.recurrence.questions.described import Described


class Model:
    """Describes a sequence by its sum, and keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, ...]] = []

    def __call__(self, sequences: Sequence[Sequence[int]]) -> Floats:
        self.asked += map(tuple, sequences)
        return np.array([[float(sum(ids)), float(len(ids))] for ids in sequences])


def test_each_sequence_is_described_once_and_they_come_in_their_order() -> None:
    model = Model()
    states = Described(model)
    assert states([[1, 2], [5], [1, 2]]).tolist() == [[3, 2], [5, 1], [3, 2]]
    assert states([[5], [7, 7], [1, 2]]).tolist() == [[5, 1], [14, 2], [3, 2]]
    assert states([[5]]).tolist() == [[5, 1]]
    assert model.asked == [(1, 2), (5,), (7, 7)]


def test_nothing_is_described_as_the_model_does_it() -> None:
    model = Model()
    assert len(Described(model)([])) == 0


def test_beyond_a_bound_none_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(described, "MAX_KEPT", 2)
    model = Model()
    states = Described(model)
    for _ in range(2):
        assert states([[1], [2], [3]]).tolist() == [[1, 1], [2, 1], [3, 1]]
    assert model.asked == [(1,), (2,), (3,), (3,)]
