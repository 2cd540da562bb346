"""The tables of a comparison on terminals of different widths."""

from dataclasses import replace

import numpy as np
import pytest

from gradgate.cli.comparison import render
from gradgate.compare.cost import Cost
from gradgate.compare.result import Agreement, Comparison, MethodResult, SharedScoring
from gradgate.evaluation.comparison import auroc_estimate, overlap, quality
from gradgate.evaluation.rates import rate

POSITIVE = np.arange(40) < 10
FLAGGED = {"a_method": POSITIVE, "another_method": np.arange(40) % 2 == 0}


def comparison() -> Comparison:
    """Two methods with marks, and one that failed."""
    found = [
        MethodResult(
            name, "poisoned", "decided", "fail", ["too much"], "poisoned", rate(marks),
            rate(~marks & False), quality(marks, POSITIVE, 0), quality(marks, POSITIVE, 0),
            auroc_estimate(marks.astype(np.float64), POSITIVE, 0), 0, Cost(50.0, 12.3),
        )
        for name, marks in FLAGGED.items()
    ]  # fmt: skip
    failed = MethodResult("broken", None, "failed", "error", ["no"])
    one, other = FLAGGED
    marked = overlap(*FLAGGED.values())
    pairs = [Agreement(one, other, marked, marked), Agreement(one, failed.method, None, None)]
    counts = {"n_rows": 41, "n_rejected": 1, "n_samples": 40, "n_scored": 40}
    return Comparison(
        source="rows.jsonl", model={}, **counts, n_positive={"poisoned": 10},
        scoring=SharedScoring(Cost(4.0, 100.0), 40, 0), methods=[*found, failed],
        agreement=pairs, seed=0,
    )  # fmt: skip


@pytest.mark.parametrize("width", [40, 60, 80, 160])
def test_no_line_is_wider_than_the_terminal(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    lines = render(comparison()).splitlines()
    assert max(map(len, lines)) <= width
    text = "\n".join(lines)
    assert all(figure in text for figure in ("0.500", "0.250", "1,250", "0.69-1.00"))


def test_the_best_figure_of_a_column_is_marked_and_its_direction_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    shown = render(comparison())
    rows = {line.split()[0]: line.split() for line in shown.splitlines() if "fail " in line}
    assert "*1.000" in rows["a_method"]  # recall
    assert not any(cell.startswith("*") for cell in rows["another_method"])
    assert "recall: part of the labelled rows that is found; higher is better" in shown
    assert "ms/sample: milliseconds for a row, without the shared scoring; lower is better" in shown
    assert "* the best of its column" in shown


def test_figures_that_are_alike_are_not_marked() -> None:
    same = comparison()
    alike = replace(same.methods[0], method="another_method")
    assert "*" not in render(replace(same, methods=[same.methods[0], alike], agreement=[]))


def test_what_is_not_measured_is_not_explained() -> None:
    assert "recall" not in render(replace(comparison(), n_positive={}))


def test_pairs_take_the_place_of_a_matrix_that_does_not_fit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    narrow = render(comparison()).splitlines()
    assert narrow[-1].split() == ["a_method,", "another_method", "0.00", "5"]
    monkeypatch.setenv("COLUMNS", "60")
    wide = render(comparison()).splitlines()
    assert wide[-3].split() == ["1", "a_method", "5", "-"]
    assert wide[-2].split() == ["2", "another_method", "0.00", "-"]
