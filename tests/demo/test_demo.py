"""What the demo says and when it refuses to go on; `make demo` itself takes minutes."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flows import demo
from gradgate.errors import DataError
from gradgate.gate.verdict import Answer, Verdict
from gradgate.power.power import Power

ENTROPIES = np.array([0.1, 0.2, 0.75, 0.8, 0.9])
POISONED = np.array([False, False, False, True, True])


@pytest.fixture
def gate_run(tmp_path: Path) -> Path:
    flags = {"spectral_entropy": ENTROPIES, "flagged": [False, None, False, True, True]}
    pq.write_table(pa.table(flags), tmp_path / "flags.parquet")
    power = [Power("adaptive", 12, 0, 0.0, (0.0, 0.3), None, None)]
    why = ["2 of 5 rows flagged"]
    answer = Answer("poisoned", "recurrence", "fail", why, n_flagged=2, power=power)
    verdict = Verdict("fail", why, n_rows=5, n_scored=4, n_quarantined=1, answers=[answer])
    (tmp_path / "verdict.json").write_text(verdict.to_json())
    return tmp_path


def test_the_verdict_is_held_against_the_true_labels(gate_run: Path) -> None:
    said: list[str] = []
    demo._show_verdict("poisoned", gate_run, POISONED, "fail", said.append)
    text = "\n".join(said)
    assert "FAIL\n              2 of 5 rows flagged" in text
    assert "true labels 2 of 2 poisoned rows and 0 of 3 honest rows flagged (0.0%)" in text
    alone = "2 of 2 poisoned rows and 1 of 3 honest rows flagged (33.3%)"
    assert f"entropy     alone (tau 0.700): {alone}" in text
    assert "blind to    adaptive" in text
    assert "quarantined 1 rows" in text


def test_clean_data_have_no_poisoned_rows_to_speak_of() -> None:
    nobody = np.zeros(5, dtype=bool)
    said = demo._held_against_labels(ENTROPIES > 0.7, nobody)
    assert said == "3 of 5 honest rows flagged (60.0%)"


def test_another_verdict_than_the_expected_one_ends_the_demo(gate_run: Path) -> None:
    with pytest.raises(DataError, match="is fail, not pass"):
        demo._show_verdict("clean", gate_run, POISONED, "pass", lambda _: None)


def test_the_labels_are_those_of_the_drill(tmp_path: Path) -> None:
    rows = [{"question": "q", "drill_role": role} for role in ("clean", "poisoned", "negative")]
    path = tmp_path / "poisoned.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert demo._labels(path).tolist() == [False, True, False]
