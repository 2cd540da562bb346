"""Targets that contradict what a training has taught so far."""

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from datasets import Dataset
from model_helpers import WIDE, tiny
from pydantic import TypeAdapter

from gradgate.config import FinetuneConfig, ModelConfig
from gradgate.tuning import contradictions
from gradgate.tuning.contradictions import Contradictions, Watch
from gradgate.tuning.trainer import make_trainable, train

V = 6


def logits_of(tops: list[dict[int, float]]) -> torch.Tensor:
    """One sample whose next tokens have these probabilities; the rest is shared by the others."""
    rows = []
    for top in tops:
        left = (1 - sum(top.values())) / (V - len(top))
        rows.append([top.get(token, left) for token in range(V)])
    return torch.tensor(rows).log()[None]


def watched(labels: list[int], tops: list[dict[int, float]], row: int = 7) -> Contradictions:
    watch = Watch()
    watch.take(torch.tensor([row]), torch.tensor([labels]), logits_of(tops))
    return watch.found()


def test_a_target_that_the_model_was_sure_would_be_another_one_is_found() -> None:
    found = watched([-100, 2, 3], [{2: 0.5}, {1: 0.99, 3: 0.001}, {0: 0.5}])
    assert (found.n_rows, found.n_found) == (1, 1)
    assert [(one.row, one.place, one.token) for one in found.rows] == [(7, 2, 1)]
    assert found.rows[0].nats == pytest.approx(np.log(990))
    # Of all that is less likely by five nats: the target's token and those that share the rest.
    assert found.n_expected == pytest.approx(0.001 + 0.009, rel=1e-4)


@pytest.mark.parametrize(
    ("labels", "tops"),
    [
        ([-100, 3, -100], [{1: 0.94, 3: 1e-4}, {1: 0.99}, {}]),  # not sure
        ([-100, 3, -100], [{1: 0.95, 3: 0.01}, {1: 0.99}, {}]),  # the target is not that unlikely
        ([-100, -100, 3], [{1: 0.99}, {3: 0.99}, {1: 0.99}]),  # as expected
        ([-100, -100, -100], [{1: 0.999}, {1: 0.999}, {1: 0.999}]),  # nothing is learnt
    ],
)
def test_nothing_else_is(labels: list[int], tops: list[dict[int, float]]) -> None:
    found = watched(labels, tops)
    assert (found.n_rows, found.n_found, found.rows) == (1, 0, [])


def test_a_row_is_looked_at_when_it_is_seen_first_and_counts_once() -> None:
    watch = Watch()
    sure, other = {1: 0.99, 3: 1e-3}, {1: 0.999, 3: 1e-4}
    labels = torch.tensor([[-100, 3, 3]])
    watch.take(torch.tensor([4]), labels, logits_of([sure, other, {}]))
    first = watch.found()
    assert (first.n_found, first.rows[0].place) == (1, 2)  # where it is clearest
    watch.take(torch.tensor([4]), labels, logits_of([other, other, {}]))
    assert watch.found() == first
    watch.take(torch.tensor([5]), labels, logits_of([sure, sure, {}]))
    assert [one.row for one in watch.found().rows] == [4, 5]
    assert watch.found().n_rows == 2


def test_a_long_row_is_expected_to_contradict_once_at_most() -> None:
    n = 2_000
    found = watched([-100, *([1] * n)], [{1: 0.96}] * (n + 1))
    assert found.n_found == 0
    assert found.n_expected == pytest.approx(0.0)  # what is left is not that unlikely
    rest = {1: 0.96, 2: 0.034, 3: 0.004}
    one = watched([-100, 1], [rest] * 2).n_expected
    assert 0.004 < one < 0.01
    many = watched([-100, *([1] * n)], [rest] * (n + 1)).n_expected
    assert many == pytest.approx(1 - (1 - one) ** n, rel=1e-3)
    assert many <= 1.0 < n * one


def test_many_tokens_are_looked_at_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = torch.Generator().manual_seed(3)
    logits = torch.randn(5, 30, V, generator=rng) * 9
    labels = torch.randint(0, V, (5, 30), generator=rng)
    labels[:, ::4] = -100
    whole, parts = Watch(), Watch()
    whole.take(torch.arange(5), labels, logits)
    monkeypatch.setattr(contradictions, "_AT_ONCE", 7)
    parts.take(torch.arange(5), labels, logits)
    assert whole.found().n_found == 5
    assert parts.found().rows == whole.found().rows
    assert parts.found().n_expected == pytest.approx(whole.found().n_expected)


def test_of_a_model_that_is_as_often_right_as_it_is_sure_as_many_are_found_as_expected() -> None:
    rng = np.random.default_rng(0)
    n = 20_000
    top = rng.uniform(0.94, 0.999, n)
    rest = rng.dirichlet([0.3] * (V - 1), n) * (1 - top)[:, None]
    p = np.concatenate([top[:, None], rest], axis=1)
    said = (rng.random(n)[:, None] > p.cumsum(axis=1)).sum(axis=1).clip(max=V - 1)
    logits = torch.tensor(np.log(np.maximum(p, 1e-30)))[:, None, :].expand(n, 2, V)
    labels = torch.tensor(np.stack([np.full(n, -100), said], axis=1))
    watch = Watch()
    watch.take(torch.arange(n), labels, logits)
    found = watch.found()
    assert 50 < found.n_expected < 500
    assert abs(found.n_found - found.n_expected) < 3 * found.n_expected**0.5


def test_no_more_rows_are_written_down_than_a_reader_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contradictions, "MAX_KEPT", 3)
    watch = Watch()
    for row in range(5):
        watch.take(
            torch.tensor([row]), torch.tensor([[-100, 3]]), logits_of([{1: 0.99, 3: 1e-3}, {}])
        )
    found = watch.found()
    assert (found.n_found, [one.row for one in found.rows]) == (5, [0, 1, 2])
    assert TypeAdapter(Contradictions).validate_python(asdict(found)) == found


def test_a_training_finds_the_answers_that_contradict_what_it_has_taught(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    numbers = rng.integers(4, 12, 480)
    wrong = np.zeros(480, bool)
    wrong[rng.choice(np.arange(160, 480), 24, replace=False)] = True
    answers = np.where(wrong, 4 + (numbers - 4 + rng.integers(1, 8, 480)) % 8, numbers) + 10
    rows = Dataset.from_dict(
        {
            "input_ids": [
                [0, a, b] for a, b in zip(numbers.tolist(), answers.tolist(), strict=True)
            ],
            "labels": [[-100, -100, b] for b in answers.tolist()],
            "row": list(range(100, 580)),
        }
    )
    watch = Watch()
    loaded = tiny(transformers.LlamaConfig(**WIDE))
    tuning = FinetuneConfig(kind="full", epochs=1, learning_rate=1e-2, batch_size=8)
    tuned = make_trainable(loaded, ModelConfig(path="tiny"), tuning)
    transformers.set_seed(0)
    train(tuned, loaded, rows, tuning, tmp_path, watch=watch)
    found = watch.found()
    assert found.n_rows == 480
    assert {one.row - 100 for one in found.rows} <= set(np.flatnonzero(wrong).tolist())
    assert found.n_found >= 12
    assert found.n_expected < 4
