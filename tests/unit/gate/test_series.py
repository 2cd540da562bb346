"""Which runs are of one series, and where the pointer to the last of them lies."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from gate_helpers import gate_of

from gradgate.gate.series import Series, series_of


def test_a_series_is_a_dataset_a_model_and_an_experiment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    series = series_of(gate_of())
    same: dict[str, Any] = {
        "data__revision": "abc", "model__revision": "abc", "scoring__k": 8,
        "data__max_tokens": 99, "model__device": "cuda",
    }  # fmt: skip
    for name, value in same.items():
        assert series_of(gate_of(**{name: value})) == series
    for name, value in (
        ("data__source", "org/other"), ("data__split", "test"), ("data__name", "en"),
        ("model__path", "org/other"), ("model__adapter", "org/a"), ("tracking__experiment", "e"),
    ):  # fmt: skip
        other = series_of(gate_of(**{name: value}))
        assert other.pointer(tmp_path) != series.pointer(tmp_path)
    monkeypatch.chdir(tmp_path)
    Path("rows.jsonl").write_text("")
    assert series_of(gate_of("rows.jsonl")) == series_of(gate_of(str(tmp_path / "rows.jsonl")))


def test_the_pointer_of_a_gate_without_a_name_is_where_it_always_was(tmp_path: Path) -> None:
    content = {
        "source": "rows.jsonl", "name": None, "split": None, "model": "m", "adapter": None,
        "experiment": "gradgate",
    }  # fmt: skip
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:32]
    series = Series("gradgate", source="rows.jsonl", model="m")
    assert series.pointer(tmp_path) == tmp_path / "series" / f"{digest}.json"
