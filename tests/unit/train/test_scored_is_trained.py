"""What fine-tuning learns of a row is what was scored of it."""

from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM

import gradgate
from gradgate.gate.acceptance import require_passing, write_accepted
from gradgate.tuning.trainer import collate
from helpers import MODEL, diverse_rows

CONFIG: dict[str, Any] = {
    "model": {"device": "cpu", "dtype": "float32"},
    "scoring": {"store": False},
    "detection": {"power": {"attacks": []}},
    "policy": {"review_above": 0.5, "max_poison_fraction": 0.5},
}


def plain(n: int) -> list[dict[str, object]]:
    rows = diverse_rows(n)
    return [{"prompt": f"{row['question']}\n", "completion": row["answers"]} for row in rows]


def tokens(n: int) -> list[dict[str, object]]:
    """As a trainer gives them, with a second stretch that is learnt."""
    found: list[dict[str, object]] = []
    for i in range(n):
        ids = [20 + (i * 7 + k * k) % 300 for k in range(12)]
        learnt = [-100] * 3 + ids[3:6] + [-100] * 2 + ids[8:]
        found.append({"input_ids": ids, "labels": learnt})
    return found


@pytest.mark.parametrize("rows", [plain(240), tokens(240)], ids=["plain", "tokens"])
def test_the_loss_of_a_trained_row_is_the_loss_that_was_scored(
    tmp_path: Path, rows: list[dict[str, object]]
) -> None:
    found = gradgate.detect(rows, str(MODEL), config=CONFIG)
    assert found.verdict.decision == "pass", found.verdict.reasons
    folder = found.save(tmp_path / "run")
    require_passing(folder, found.verdict)
    write_accepted(folder, found.verdict, tmp_path / "rows.arrow")
    trained = Dataset.from_file(str(tmp_path / "rows.arrow"))
    scored = {line["row"]: line["loss"] for line in found.table.to_pylist()}
    model = AutoModelForCausalLM.from_pretrained(str(MODEL), dtype=torch.float32)
    for row, sample in zip(found.accepted_rows, trained, strict=True):
        with torch.no_grad():
            loss = float(model(**collate([sample])).loss)
        assert loss == pytest.approx(scored[row], abs=1e-4)
