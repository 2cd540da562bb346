"""The picture of a comparison: a row a method, a panel a figure, with 95 % intervals."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from gradgate.common.arrays import Floats
from gradgate.common.escaping import printable
from gradgate.compare.result import FIGURES, Comparison, MethodResult, figures_of
from gradgate.evaluation.comparison import Estimate
from gradgate.evaluation.rates import Rate
from gradgate.report.plots import ACCEPTED, FLAGGED, INK

_MUTED = "#9aa5b1"
_VERDICTS = {"pass": ACCEPTED, "review": "#e08e0b", "fail": FLAGGED, "error": _MUTED}

Pick = Callable[[MethodResult], Rate | Estimate | None]


def plot_comparison(comparison: Comparison, output: Path) -> None:
    """Draw it as PNG: quality with labels, fractions and agreement without, and always the time."""
    n = len(comparison.methods)
    figure = Figure(figsize=(13, 1.9 + 0.34 * n), dpi=120, layout="constrained")
    if comparison.n_positive:
        axes = figure.subplots(1, 6, sharey=True)
        _plot_quality(axes[:-1], comparison)
    else:
        side = 0.5 + 0.1 * n
        axes = figure.subplots(1, 4, sharey=True, width_ratios=[1, 1, side, 1])
        _plot_fractions(axes[:2], comparison)
        _plot_agreement(axes[2], comparison)
    _plot_seconds(axes[-1], comparison)
    _name_methods(axes[0], comparison)
    handles = {  # by their label, each once
        label: handle
        for panel in axes
        for handle, label in zip(*panel.get_legend_handles_labels(), strict=True)
    }
    figure.legend(
        handles.values(), handles, loc="outside lower left", ncols=4, frameon=False, fontsize=8
    )
    title = f"{printable(Path(comparison.source).name)}: {comparison.headline}"
    figure.suptitle(title, fontsize=11, color=INK, parse_math=False)
    figure.savefig(output)


def _name_methods(axes: Axes, comparison: Comparison) -> None:
    names = [f"{i} {f.method}: {f.verdict}" for i, f in enumerate(comparison.methods, 1)]
    axes.set_yticks(range(len(names)), names, fontsize=9)
    axes.set_ylim(len(names) - 0.5, -0.5)
    for label, found in zip(axes.get_yticklabels(), comparison.methods, strict=True):
        label.set_color(_VERDICTS[found.verdict])
        label.set_parse_math(False)


def _plot_quality(panels: Sequence[Axes], comparison: Comparison) -> None:
    titles = ("recall", "precision", "F1", "false-positive rate")
    for axes, name, title in zip(panels, FIGURES, titles, strict=False):
        for pick, shift, colour, label in (
            (_of_flags, -0.14, ACCEPTED, "flagged"),
            (_of_kept_out, 0.14, _MUTED, "flagged or in doubt"),
        ):
            _dots(axes, comparison, partial(pick, name), shift, colour, label)
        _finish(axes, title)
    panels[-1].axvline(0.5, color=_MUTED, linewidth=0.8, linestyle=":")
    _dots(panels[-1], comparison, lambda found: found.auroc, 0, INK, "suspicion")
    _finish(panels[-1], "AUROC")


def _of_flags(name: str, found: MethodResult) -> Rate | Estimate | None:
    return figures_of(found.quality).get(name)


def _of_kept_out(name: str, found: MethodResult) -> Rate | Estimate | None:
    return figures_of(found.quality_kept_out).get(name)


def _plot_fractions(panels: Sequence[Axes], comparison: Comparison) -> None:
    _dots(panels[0], comparison, lambda found: found.flagged, 0, FLAGGED, "flagged")
    _finish(panels[0], "flagged rows")
    _dots(panels[1], comparison, lambda found: found.in_doubt, 0, _VERDICTS["review"], "in doubt")
    _finish(panels[1], "rows in doubt")


def _dots(
    axes: Axes, comparison: Comparison, pick: Pick, shift: float, colour: str, label: str
) -> None:
    found = [(i, pick(one)) for i, one in enumerate(comparison.methods)]
    known = [(i, one) for i, one in found if one is not None and np.isfinite(one.value)]
    values = np.array([one.value for _, one in known])
    ends = np.array([[one.value - one.low, one.high - one.value] for _, one in known])
    axes.errorbar(
        values, [i + shift for i, _ in known], xerr=np.maximum(ends.reshape(-1, 2).T, 0),
        fmt="o", markersize=4, color=colour, linewidth=1, capsize=2, label=label,
    )  # fmt: skip


def _finish(axes: Axes, title: str) -> None:
    axes.set_xlim(-0.04, 1.04)
    axes.set_xticks([0, 0.5, 1])
    axes.xaxis.set_major_formatter("{x:g}")
    _clean(axes, title)


def _clean(axes: Axes, title: str) -> None:
    axes.set_title(title, fontsize=10, color=INK)
    axes.grid(axis="y", color="#e4e7eb", linewidth=0.8)
    axes.tick_params(labelsize=8, length=0)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)


def _plot_agreement(axes: Axes, comparison: Comparison) -> None:
    """Cohen's kappa of the rows that are flagged or in doubt, of each pair."""
    kappa = kappas(comparison)
    image = np.ma.masked_invalid(kappa)
    axes.imshow(image, cmap="RdBu", vmin=-1, vmax=1, aspect="auto")
    for (i, j), value in np.ndenumerate(kappa):
        if np.isfinite(value):
            colour = "white" if abs(value) > 0.6 else INK
            axes.text(j, i, f"{value:.2f}", ha="center", va="center", fontsize=7, color=colour)
    axes.set_xticks(range(len(kappa)), [str(i + 1) for i in range(len(kappa))])
    _clean(axes, "agreement (kappa)")
    axes.grid(visible=False)


def kappas(comparison: Comparison) -> Floats:
    """Cohen's kappa of what each pair of methods keeps out; NaN where there is none. (m, m)."""
    names = [found.method for found in comparison.methods]
    found = np.full((len(names), len(names)), np.nan)
    for pair in comparison.agreement:
        i, j = names.index(pair.first), names.index(pair.second)
        found[i, j] = found[j, i] = np.nan if pair.kept_out is None else pair.kept_out.kappa
    return found


def _plot_seconds(axes: Axes, comparison: Comparison) -> None:
    """Milliseconds a sample of each method, and of the scoring that all share."""
    shared = 1e3 * comparison.per_sample(comparison.scoring.cost)
    for i, found in enumerate(comparison.methods):
        if found.cost is not None:
            own = 1e3 * comparison.per_sample(found.cost)
            axes.plot([own], [i], "o", markersize=4, color=INK)
    axes.axvline(shared, color=_MUTED, linewidth=1, label="the scoring that all share")
    axes.set_xscale("log")
    low, high = axes.get_xlim()
    axes.set_xlim(10 ** np.floor(np.log10(low)), 10 ** np.ceil(np.log10(high)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())
    _clean(axes, "ms a sample")
