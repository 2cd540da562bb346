"""One picture: recall by ratio and by volume, and attack success by the part of harmful rows."""

from collections.abc import Callable, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.papers.figures import grouped, pooled
from benchmarks.papers.results import Counted, Result

_MARKS = "osD^vPX*"
_DASHES = ("-", "--", ":", "-.")


def plot(results: Sequence[Result], output: Path) -> None:
    """Three panels; those without a finished cell stay empty."""
    figure = Figure(figsize=(12.5, 6.2), dpi=130, layout="constrained")
    ratios, volumes, safety = figure.subplots(1, 3)
    by_table = dict(grouped(results, lambda r: r.cell.table))
    _lines(ratios, by_table.get("ratios", []), lambda r: r.cell.rate, lambda r: r.caught)
    _label(ratios, "poisoned part of the rows", "recall")
    _lines(volumes, by_table.get("volumes", []), lambda r: r.cell.rows, lambda r: r.caught)
    volumes.set_xscale("log")
    _label(volumes, "rows, 10 % of them poisoned", "recall")
    trained = [r for r in by_table.get("safety", []) if r.success.n and r.cell.attack != "identity"]
    _lines(safety, trained, lambda r: r.cell.rate, lambda r: r.success)
    _label(safety, "harmful part of the rows", "harmful prompts not refused")
    figure.savefig(output)


def _lines(
    axes: Axes,
    results: Sequence[Result],
    place: Callable[[Result], float],
    of: Callable[[Result], Counted],
) -> None:
    """A line for each model, defence, training and its settings, over the pooled rates.

    A defence has one colour, and what is alike but for the defence one mark.
    """
    series = grouped(results, lambda r: (r.model, r.cell.defence, r.cell.training, r.settings))
    models = {r.model for r in results}
    defences = list(dict.fromkeys(r.cell.defence for r in results))
    kinds = list(dict.fromkeys((r.model, r.settings) for r in results))
    for (model, defence, training, settings), own in series:
        points = sorted((x, pooled(here, of).rate) for x, here in grouped(own, place))
        known = [(x, y) for x, y in points if y is not None]
        said = [defence] + ([training] if training != "none" else [])
        said += [model.split()[0]] if len(models) > 1 else []
        others = {r.settings for r in results if (r.model, r.cell.training) == (model, training)}
        said += [_rate(settings)] if len(others) > 1 else []
        kind = kinds.index((model, settings))
        axes.plot(
            *zip(*known, strict=True),
            color=f"C{defences.index(defence)}",
            marker=_MARKS[kind % len(_MARKS)],
            markersize=4,
            linestyle=_DASHES[kind % len(_DASHES)],
            label=", ".join(said),
        )
    if results:
        axes.legend(fontsize=7, frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.14))


def _rate(settings: str) -> str:
    """The learning rate among settings in words."""
    return next((part for part in settings.split(", ") if part.startswith("learning rate")), "")


def _label(axes: Axes, x: str, y: str) -> None:
    axes.set_xlabel(x, fontsize=9)
    axes.set_ylabel(y, fontsize=9)
    axes.set_ylim(-0.03, 1.03)
    axes.tick_params(labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)
