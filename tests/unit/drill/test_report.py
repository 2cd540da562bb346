"""The report of a drill."""

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib.image
import numpy as np
import pytest

from gradgate.drill.models import Arm
from gradgate.drill.plot import plot_drill
from gradgate.drill.report import DrillResult, draw_up, metrics, to_csv, to_markdown


def result(**changes: Any) -> DrillResult:
    def arm(name: str, n_right: int, n_attacked: int) -> Arm:
        right, attacked = np.arange(400) < n_right, np.arange(400) < n_attacked
        return Arm(name, 90, 10, 1.5, 2.0, right.tolist(), attacked.tolist())

    settings: dict[str, Any] = {
        "source": "data|.jsonl",
        "attack": "badnets",
        "poison_rate": 0.1,
        "seed": 0,
        "decision": "fail",
        "reasons": ["<b>10</b> rows flagged"],
        "flagged": np.arange(100) < 11,
        "poisoned": np.arange(100) < 10,
        "arms": [arm("ungated", 200, 398), arm("gated", 198, 0), arm("clean", 203, 0)],
    }
    return draw_up(**{**settings, **changes})


def test_the_page_says_all_of_it_with_intervals() -> None:
    page = to_markdown(result())
    assert page.startswith("# Drill: without the gate ASR 99.5%, with it 0.0%\n")
    assert "| with the gate | 90 | 49.5% (44.5% to 54.5%; 198 of 400) | 0.0% (0.0% to 0.9%" in page
    assert "| recall | 100.0% (69.2% to 100.0%; 10 of 10) |" in page
    assert "| false-positive rate | 1.1% (0.0% to 6.0%; 1 of 90) |" in page
    assert "within the bar of 1%" in page
    assert "-1.25 points against training on clean data" in page
    assert "p = 0.062): within noise" in page
    assert "<b>" not in page
    assert "data|" not in page


def test_held_and_released_adapters_and_a_rehearsal_are_said() -> None:
    arms = result().arms
    held = replace(arms[0], test="review", test_reasons=["cf brings <b>it</b>"])
    passed = replace(arms[1], name="rehearsed", test="pass", test_reasons=["nothing"])
    page = to_markdown(result(arms=[held, arms[1], passed], rehearsed=np.arange(100) < 10))
    assert "(98.2% to 99.9%; 398 of 400) | held |" in page
    assert "0.0% (0.0% to 0.9%; 0 of 400) | not asked |" in page
    assert "| with the gate and a rehearsal | 90 |" in page
    assert "| false-positive rate, rehearsed | 0.0% " in page
    assert "The adapter trained without the gate is held: cf brings " in page
    assert "<b>" not in page


def test_a_missed_attack_and_a_lost_accuracy_are_said() -> None:
    arms = result().arms
    bad = Arm("gated", 90, 10, 1.5, 2.0, [False] * 400, [True] * 5 + [False] * 395)
    page = to_markdown(result(arms=[arms[0], bad, arms[2]], flagged=np.zeros(100, dtype=bool)))
    assert "1.25% (5 of 400" in page
    assert "above the bar of 1%" in page
    assert "more than noise" in page
    assert "| precision | none |" in page


def test_csv_json_and_metrics_hold_the_same_figures() -> None:
    found = result()
    rows = {(r["subject"], r["metric"]): r for r in csv.DictReader(to_csv(found).splitlines())}
    tracked = metrics(found)
    for arm in ("ungated", "gated", "clean"):
        for metric in ("asr", "cacc"):
            assert float(rows[arm, metric]["value"]) == tracked[f"{metric}/{arm}"]
    assert float(rows["gate", "recall"]["value"]) == tracked["gate/recall"] == 1
    assert float(rows["gated - clean", "cacc"]["value"]) == pytest.approx(-0.0125)
    assert tracked["gate/f1"] == pytest.approx(20 / 21)
    assert json.loads(found.to_json())["asr"]["ungated"]["k"] == 398
    unknown = json.loads(result(flagged=np.zeros(100, dtype=bool)).to_json())
    assert unknown["found"]["precision"]["value"] is None


def test_without_a_reference_nothing_is_compared(tmp_path: Path) -> None:
    found = result(arms=result().arms[:2])
    assert found.against_clean is None
    assert "points against" not in to_markdown(found)
    assert "cacc/mcnemar_p" not in metrics(found)
    plot_drill(found, tmp_path / "drill.png")
    assert matplotlib.image.imread(tmp_path / "drill.png").shape == (480, 1080, 4)
