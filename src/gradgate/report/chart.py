"""Histograms as numbers for inline SVG; their size does not depend on the number of rows."""

from dataclasses import dataclass

import numpy as np

from gradgate.common.arrays import Floats, Marks

BINS = 80
HEIGHT = 100  # of the highest bar, in units of the drawing
_MIN_HEIGHT = 1.5  # height of a single row, so that it shows


@dataclass(frozen=True)
class Panel:
    """The histogram of one kind of rows, with a scale of its own.

    Attributes:
        is_flagged: Which kind.
        n: Rows with a value.
        median: None when there is no row.
        highest: Rows in the highest bar.
        path: Bars for the `d` of an SVG path, in a field of BINS x HEIGHT.
    """

    is_flagged: bool
    n: int
    median: float | None
    highest: int
    path: str


@dataclass(frozen=True)
class Mark:
    """A place on the horizontal axis.

    Attributes:
        at: From the left, in per cent of the width.
        label: The value.
    """

    at: float
    label: str


@dataclass(frozen=True)
class Chart:
    """Panels one above the other on one axis."""

    title: str
    explanation: str
    panels: list[Panel]
    ticks: list[Mark]
    threshold: Mark | None


def entropy_chart(entropies: Floats, flagged: Marks, tau: float | None) -> Chart | None:
    """Spectral entropies in [0, 1]; None when no row has one."""
    title = "Spectral entropy of the gradient"
    explanation = "High: the gradient of the sample has many directions of like strength."
    return _chart(title, explanation, entropies, flagged, (0.0, 1.0), tau)


def recurrence_chart(recurrences: Floats, flagged: Marks) -> Chart | None:
    """Gradient recurrences in [-1, 1]; None when no row has one."""
    known = recurrences[np.isfinite(recurrences)]
    low = np.floor(5 * known.min(initial=0.0)) / 5
    title = "Gradient recurrence"
    explanation = "High: other samples pull the model in the same direction."
    return _chart(title, explanation, recurrences, flagged, (max(-1.0, float(low)), 1.0), None)


def _chart(
    title: str, explanation: str, values: Floats, flagged: Marks,
    ends: tuple[float, float], tau: float | None,
) -> Chart | None:  # fmt: skip
    there = np.isfinite(values)
    if not there.any():
        return None
    panels = [_panel(values[there & (flagged == is_flagged)], is_flagged, ends)
              for is_flagged in (False, True)]  # fmt: skip
    threshold = None if tau is None else _mark(tau, ends, f"{tau:.3f}")
    ticks = [_mark(value, ends, f"{value:.1f}") for value in np.arange(*ends, 0.2).tolist()]
    return Chart(
        title, explanation, panels, [*ticks, _mark(ends[1], ends, f"{ends[1]:.1f}")], threshold
    )


def _panel(values: Floats, is_flagged: bool, ends: tuple[float, float]) -> Panel:
    counts, _ = np.histogram(np.clip(values, *ends), BINS, ends)
    highest = int(counts.max())
    heights = np.maximum(
        counts * (HEIGHT / max(1, highest)), np.where(counts > 0, _MIN_HEIGHT, 0.0)
    )
    bars = [
        f"M{i} {HEIGHT}V{HEIGHT - height:.1f}h.92V{HEIGHT}z"
        for i, height in enumerate(heights.tolist())
        if height
    ]
    median = float(np.median(values)) if values.size else None
    return Panel(is_flagged, values.size, median, highest, "".join(bars))


def _mark(value: float, ends: tuple[float, float], label: str) -> Mark:
    at = 100 * (value - ends[0]) / (ends[1] - ends[0])
    return Mark(round(min(max(at, 0.0), 100.0), 2), label.replace("-0.0", "0.0"))
