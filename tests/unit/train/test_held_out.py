"""Samples that are held out from a training, for the test of what it taught."""

import json
import math

import numpy as np
import pytest
import torch
from datasets import Dataset
from lora_helpers import FAILED, FLAGGED, Gated

from gradgate.errors import ModelError
from gradgate.models.identity import load_model
from gradgate.release.training_record import MAX_HELD_OUT
from gradgate.train.held_out import MIN_HELD_OUT, draw_held_out, mean_loss, prompts_of
from gradgate.tuning.trainer import collate


def prompts(n: int) -> list[np.ndarray]:
    return [np.array([1, 2, number], np.int32) for number in range(n)]


def test_a_part_is_drawn_and_never_fewer_than_say_something() -> None:
    assert len(draw_held_out(prompts(1_000), 0.02, "a")) == 20
    assert len(draw_held_out(prompts(MIN_HELD_OUT * 50), 0.02, "a")) == MIN_HELD_OUT
    assert draw_held_out(prompts(MIN_HELD_OUT * 50 - 1), 0.02, "a") == []
    assert len(draw_held_out(prompts(100_000), 0.02, "a")) == MAX_HELD_OUT
    assert draw_held_out([], 0.5, "a") == []


def test_the_draw_depends_on_what_decides_and_on_nothing_else() -> None:
    drawn = draw_held_out(prompts(1_000), 0.02, "a")
    assert drawn == draw_held_out(prompts(1_000), 0.02, "a") == sorted(set(drawn))
    assert drawn != draw_held_out(prompts(1_000), 0.02, "b")


def test_a_prompt_that_another_sample_has_is_never_held_out() -> None:
    """It would be trained on all the same."""
    twice = [*prompts(30), *prompts(15)]
    drawn = draw_held_out(twice, 0.5, "a")
    assert len(drawn) == 15
    assert all(15 <= place < 30 for place in drawn)
    assert draw_held_out([*prompts(30), *prompts(23)], 0.5, "a") == []  # seven are left


def test_a_prompt_ends_where_the_last_target_begins() -> None:
    rows = Dataset.from_dict(
        {
            "input_ids": [[1, 2, 3, 4, 5, 6], [1, 2, 3], [1, 2, 3]],
            "labels": [[-100, 2, -100, -100, 5, 6], [1, 2, 3], [-100, -100, 3]],
        }
    )
    assert [ids.tolist() for ids in prompts_of(rows)] == [[1, 2, 3, 4], [1, 2, 3], [1, 2]]


def test_the_loss_is_that_of_all_target_tokens_whatever_the_batch(gated: Gated) -> None:
    model = load_model(gated.model).model
    rows = [
        {"input_ids": [0, 5, 6, 7, 8], "labels": [-100, -100, 6, 7, 8]},
        {"input_ids": [0, 5, 9], "labels": [-100, -100, 9]},
    ]
    with torch.no_grad():
        expected = float(model(**collate(rows)).loss)
    for batch_size in (1, 2, 3):
        assert mean_loss(model, Dataset.from_list(rows), batch_size) == pytest.approx(expected)
    with torch.no_grad():
        next(model.parameters()).fill_(math.nan)
    with pytest.raises(ModelError, match="the loss on the held-out samples is not finite"):
        mean_loss(model, Dataset.from_list(rows), 2)


def test_what_is_held_out_is_not_trained_on_and_is_recorded(gated: Gated) -> None:
    result = gated.finetune(held_out=0.7)
    record = json.loads((gated.output / "training.json").read_text())
    assert len(record["held_out"]) == 9  # of 13
    assert set(record["held_out"]) & (FLAGGED | FAILED) == set()
    assert (record["n_accepted"], record["n_trained"], result.course.n_trained) == (13, 4, 4)
    assert result.course.held_out_loss == record["held_out_loss"]
    assert result.course.held_out_loss_before == record["held_out_loss_before"]
    assert result.course.held_out_loss_before != result.course.held_out_loss
    assert "| samples held out for the adapter test | 9 |" in (
        gated.output / "README.md"
    ).read_text(encoding="utf-8")


def test_by_default_nothing_is_held_out(gated: Gated) -> None:
    result = gated.finetune()
    record = json.loads((gated.output / "training.json").read_text())
    assert (record["held_out"], record["n_trained"], result.course.held_out_loss) == ([], 13, None)
