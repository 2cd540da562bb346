import re

import numpy as np
import pytest

from gradgate.report.chart import BINS, HEIGHT, entropy_chart, recurrence_chart

VALUES = np.array([0.1, 0.1, 0.5, np.nan, 0.9, 1.0])
FLAGGED = np.array([False, False, False, True, True, True])


def bars(path: str) -> dict[int, float]:
    found = re.findall(r"M(\d+) 100V([\d.]+)h.92V100z", path)
    return {int(bar): HEIGHT - float(top) for bar, top in found}


def test_flagged_and_other_rows_have_panels_of_their_own() -> None:
    chart = entropy_chart(VALUES, FLAGGED, 0.75)
    assert chart is not None
    honest, flagged = chart.panels
    assert [(panel.n, panel.highest) for panel in chart.panels] == [(3, 2), (2, 1)]
    assert [panel.median for panel in chart.panels] == pytest.approx([0.1, 0.95])
    assert bars(honest.path) == {8: 100.0, 40: 50.0}
    assert bars(flagged.path) == {72: 100.0, BINS - 1: 100.0}
    assert chart.threshold is not None
    assert (chart.threshold.at, chart.threshold.label) == (75.0, "0.750")
    assert [tick.at for tick in chart.ticks] == pytest.approx([0, 20, 40, 60, 80, 100])


def test_a_single_row_beside_a_million_shows() -> None:
    values = np.append(np.full(1_000_000, 0.3), 0.8)
    chart = entropy_chart(values, np.zeros(values.size, bool), None)
    assert chart is not None
    honest, flagged = chart.panels
    assert bars(honest.path)[64] == pytest.approx(1.5)
    assert (flagged.n, flagged.median, flagged.path) == (0, None, "")


def test_without_a_value_there_is_no_chart() -> None:
    assert entropy_chart(np.full(3, np.nan), np.zeros(3, bool), 0.7) is None
    assert recurrence_chart(np.empty(0), np.empty(0, bool)) is None


@pytest.mark.parametrize(
    ("lowest", "first", "n_ticks"),
    [(0.3, "0.0", 6), (-0.01, "-0.2", 7), (-1.0, "-1.0", 11), (-1.0000001, "-1.0", 11)],
)
def test_the_axis_of_recurrence_begins_below_the_lowest(
    lowest: float, first: str, n_ticks: int
) -> None:
    chart = recurrence_chart(np.array([lowest, 0.9]), np.zeros(2, bool))
    assert chart is not None
    assert chart.ticks[0].label == first
    assert [chart.ticks[0].at, chart.ticks[-1].at] == [0.0, 100.0]
    assert len(chart.ticks) == n_ticks
    assert sum(tick.label == "0.0" for tick in chart.ticks) == 1
    assert chart.panels[0].n == 2
    assert len(bars(chart.panels[0].path)) == 2
