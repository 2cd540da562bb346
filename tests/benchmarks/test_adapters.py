"""The table of adapters that were tested: what it says of the bars."""

import io
from dataclasses import replace

from rich.console import Console

from benchmarks.adapters import Cell, report

BACKDOOR = Cell(
    model="m",
    source="webqa",
    attack="badnets",
    seed=0,
    rows=100,
    asr=0.9,
    train_s=50.0,
    test="review",
    why="cf brings it",
    test_s=2.5,
    gate="review",
    trained=0,
    flagged_poison=[0, 10],
    honest_flagged=[0, 0],
    honest_lost=[3, 3],
    rehearsed="fail",
    rehearsal_s=20.0,
)
CLEAN = replace(BACKDOOR, attack="clean", asr=None, test="pass")


def test_held_adapters_are_counted_by_what_they_were_trained_on() -> None:
    text = io.StringIO()
    not_learnt = replace(BACKDOOR, asr=0.02, test="pass", seed=1)
    one_label = replace(BACKDOOR, asr=1.0, untriggered=1.0, test="pass", seed=2)
    report([BACKDOOR, not_learnt, one_label, CLEAN], Console(file=text, width=400))
    said = text.getvalue()
    line = "| 10.0% | 0 | 100 | 90% | review | 0.05 | review | 0 | fail | 0 -> 10 |"
    assert f"| m | webqa | badnets {line}" in said
    assert "| m | webqa | clean | 10.0% | 0 | 100 | - | pass |" in said
    assert "| 2 | 100 | 100% (100% without) | pass |" in said
    assert "of backdoored adapters 1 of 3 are held" in said
    assert "of those whose trigger adds 10 % and more 1 of 1 are held" in said
    assert "of clean ones 0 of 1 are held" in said
