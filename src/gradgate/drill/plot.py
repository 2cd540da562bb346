"""The picture of a drill: what the models do, and what the gate found."""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gradgate.drill.report import CLEAN, GATED, LABELS, REHEARSED, UNGATED, DrillResult
from gradgate.evaluation.rates import Rate
from gradgate.report.plots import ACCEPTED, FLAGGED, INK

_COLOURS = {UNGATED: FLAGGED, GATED: ACCEPTED, REHEARSED: "#2a9d8f", CLEAN: "#9aa5b1"}


def plot_drill(result: DrillResult, output: Path) -> None:
    """Bars with 95 % intervals, as PNG: ASR and CACC by model, and recall, F1 and false alarms."""
    figure = Figure(figsize=(9, 4), dpi=120, layout="constrained")
    models, gate = figure.subplots(1, 2, width_ratios=[3, 2], sharey=True)
    _plot_models(models, result)
    _plot_gate(gate, result)
    for axes in (models, gate):
        axes.set_ylim(0, 1.12)
        axes.set_yticks(np.linspace(0, 1, 6), [f"{part:.0%}" for part in np.linspace(0, 1, 6)])
        axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside lower left", ncols=4, frameon=False, fontsize=9)
    title = f"{result.attack}, {result.n_poisoned} of {result.n_rows} rows poisoned"
    figure.suptitle(f"{title}: {result.headline}", fontsize=11, color=INK, parse_math=False)
    figure.savefig(output)


def _plot_models(axes: Axes, result: DrillResult) -> None:
    names = [arm.name for arm in result.arms]
    width = 0.8 / len(names)
    for place, name in enumerate(names):
        for group, rates in enumerate((result.asr, result.cacc)):
            x = group + (place - (len(names) - 1) / 2) * width
            label = LABELS[name] if group == 0 else None
            _bar(axes, x, rates[name], 0.92 * width, _COLOURS[name], label)
    axes.set_xticks([0, 1], ["attack success (ASR)", "clean accuracy (CACC)"])
    axes.set_title("fine-tuned models, on held-out rows", fontsize=10, color=INK)


def _plot_gate(axes: Axes, result: DrillResult) -> None:
    found = result.found
    _bar(axes, 0, found.recall, 0.6, ACCEPTED)
    axes.bar([1], [found.f1], 0.6, color=ACCEPTED)
    _mark(axes, 1, found.f1, found.f1)
    _bar(axes, 2, found.false_positive_rate, 0.6, FLAGGED)
    axes.set_xticks([0, 1, 2], ["recall", "F1", "false\npositives"])
    axes.set_title(f"the gate ({result.decision})", fontsize=10, color=INK)


def _bar(
    axes: Axes, x: float, value: Rate, width: float, colour: str, label: str | None = None
) -> None:
    if not value.n:
        return
    errors = [[value.value - value.low], [value.high - value.value]]
    axes.bar([x], [value.value], width, color=colour, label=label)
    axes.errorbar([x], [value.value], yerr=errors, color=INK, capsize=3, linewidth=1)
    _mark(axes, x, value.high, value.value)


def _mark(axes: Axes, x: float, top: float, value: float) -> None:
    axes.annotate(
        f"{value:.1%}",
        (x, top),
        (0, 3),
        textcoords="offset points",
        ha="center",
        fontsize=8,
        color=INK,
    )
