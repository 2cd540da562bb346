"""The table of `gradgate compare`; on a narrow terminal the figures stand below one another."""

import os
import re
from collections.abc import Iterator
from io import StringIO

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table

from gradgate.compare.plot import kappas
from gradgate.compare.result import Comparison, MethodResult, figures_of
from gradgate.evaluation.comparison import Estimate
from gradgate.evaluation.rates import Rate

_UNBOUNDED = 10_000  # columns of a file, which no terminal breaks
_NONE = "-"
_AGREEMENT = (
    "Agreement on the rows flagged or in doubt: Cohen's kappa (1: they keep out the same rows, 0: "
    "no more alike than by chance), and how many rows both keep out"
)
_BEST = "*"  # before the best figure of a column
_HIGHER = ("recall", "precision", "F1", "AUROC")  # is better; what a column begins with
_LOWER = ("false pos.", "ms/sample", "MiB")
_MEANS = {
    "flagged": "part of the rows that the method flags, from 0 to 1",
    "in doubt": "part that a person has to look at",
    "recall": "part of the labelled rows that is found",
    "precision": "part of the flagged rows that is labelled",
    "F1": "recall and precision in one figure",
    "false pos.": "part of the other rows that is hit",
    "AUROC": "how well labelled rows are told from others, whatever the threshold; 0.5 is chance",
    "ms/sample": "milliseconds for a row, without the shared scoring",
    "MiB": "memory that the method took beyond what was taken before",
}
Cells = list[tuple[str, str]]


def render(comparison: Comparison) -> str:
    """The tables as text, as wide as the terminal allows; as they need where there is none."""
    console = Console()
    is_bounded = console.is_terminal or "COLUMNS" in os.environ
    width = console.width if is_bounded else _UNBOUNDED
    lines = _best_marked([_cells(comparison, found) for found in comparison.methods])
    wide, text = _side_by_side(lines), StringIO()
    out = Console(file=text, width=width, highlight=False, color_system=None)
    fits = out.measure(wide, options=out.options.update(width=_UNBOUNDED)).maximum <= width
    out.print(wide if fits else _one_below_another(lines))
    for line in _legend(lines, comparison):
        out.print(line, soft_wrap=not is_bounded)
    out.print(f"\n{_of_scoring(comparison)}", soft_wrap=not is_bounded)
    if len(lines) > 1:
        out.print(f"\n{_AGREEMENT}", soft_wrap=not is_bounded)
        out.print(_agreement(comparison, width))
    found = "\n".join(line.rstrip() for line in text.getvalue().splitlines())
    return re.sub(r"\n{3,}", "\n\n", found).strip("\n") + "\n"


def _legend(lines: list[Cells], comparison: Comparison) -> Iterator[str]:
    """How to read the columns that are there."""
    yield "\nHow to read it (a second figure, such as 0.07-0.15, is the 95 % interval):"
    names = [name for name, _ in lines[0]]
    for begin, meaning in _MEANS.items():
        if any(name.startswith(begin) for name in names):
            better = "; higher is better" if begin in _HIGHER else ""
            better = "; lower is better" if begin in _LOWER else better
            yield f"  {begin}: {meaning}{better}"
    if comparison.n_positive:
        yield "  kept out: flagged or in doubt, which is what training does without"
    if any(text.startswith(_BEST) for cells in lines for _, text in cells):
        yield f"  {_BEST} the best of its column, however small its lead"


def _best_marked(lines: list[Cells]) -> list[Cells]:
    """The best figures of each column that says which way is better; of none that are alike."""
    columns = list(zip(*lines, strict=True))
    for at, column in enumerate(columns):
        name = column[0][0]
        sign = 1 if name.startswith(_HIGHER) else -1 if name.startswith(_LOWER) else 0
        known = [text for _, text in column if sign and text != _NONE]
        values = {text: sign * _number(text) for text in known}
        if len(set(values.values())) > 1:
            best = max(values.values())
            columns[at] = tuple(
                (name, f"{_BEST}{text}" if values.get(text) == best else text)
                for name, text in column
            )
    return [list(cells) for cells in zip(*columns, strict=True)]


def _number(text: str) -> float:
    return float(text.partition("\n")[0].replace(",", ""))


def _of_scoring(comparison: Comparison) -> str:
    shared = comparison.scoring
    return (
        f"Scoring, which all share: {_milliseconds(comparison.per_sample(shared.cost))} "
        f"ms/sample, {shared.cost.peak_mib:.0f} MiB; {shared.n_scored:,} samples scored, "
        f"{shared.n_known:,} rows known before"
    )


def _cells(comparison: Comparison, found: MethodResult) -> Cells:
    """What the table says of a method, by column."""
    flags, kept_out = figures_of(found.quality), figures_of(found.quality_kept_out)
    own = None if found.cost is None else comparison.per_sample(found.cost)
    cells = [("method", found.method), ("verdict", found.verdict)]
    cells += [("flagged", _shown(found.flagged)), ("in doubt", _shown(found.in_doubt))]
    if comparison.n_positive:
        cells += [
            ("recall\nflagged", _shown(flags.get("recall"))),
            ("recall\nkept out", _shown(kept_out.get("recall"))),
            ("precision", _shown(flags.get("precision"))),
            ("F1", _shown(flags.get("f1"))),
            ("false pos.\nflagged", _shown(flags.get("false_positive_rate"))),
            ("false pos.\nkept out", _shown(kept_out.get("false_positive_rate"))),
            ("AUROC", _shown(found.auroc)),
        ]
    cells.append(("ms/sample", _NONE if own is None else _milliseconds(own)))
    cells.append(("MiB", _NONE if found.cost is None else f"{found.cost.peak_mib:.0f}"))
    return cells


def _milliseconds(seconds: float) -> str:
    found = 1e3 * seconds
    return f"{found:,.0f}" if found >= 100 else f"{found:.3g}"


def _shown(value: Rate | Estimate | None) -> str:
    """A figure, and its interval in a second line."""
    if value is None or np.isnan(value.value):
        return _NONE
    return f"{value.value:.3f}\n{value.low:.2f}-{value.high:.2f}"


def _side_by_side(lines: list[Cells]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for i, (name, _) in enumerate(lines[0]):
        table.add_column(name, no_wrap=True, justify="left" if i < 2 else "right")
    for cells in lines:
        table.add_row(*(text for _, text in cells))
    return table


def _one_below_another(lines: list[Cells]) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for cells in lines:
        for name, text in cells:
            value, _, interval = text.partition("\n")
            shown = f"{value}  {interval}" if interval else value
            indent = "" if name == "method" else "  "
            table.add_row(indent + name.replace("\n", ", "), shown)
    return table


def _agreement(comparison: Comparison, width: int) -> Table:
    """Below the diagonal Cohen's kappa, above it the rows that both keep out; or a line a pair."""
    pairs = {(one.first, one.second): one.kept_out for one in comparison.agreement}
    names = [found.method for found in comparison.methods]
    if max(map(len, names)) + 4 + 8 * len(names) > width:
        return _pairs(comparison)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("", *(str(i + 1) for i in range(len(names)))):
        table.add_column(name, justify="right" if name else "left")
    kappa = kappas(comparison)
    for i, row in enumerate(names):
        cells = []
        for j, column in enumerate(names):
            both = pairs.get((row, column))
            above = _NONE if both is None else f"{both.both:,}"
            below = _NONE if np.isnan(kappa[i, j]) else f"{kappa[i, j]:.2f}"
            cells.append(above if i < j else below if i > j else "")
        table.add_row(f"{i + 1} {row}", *cells)
    return table


def _pairs(comparison: Comparison) -> Table:
    table = Table(box=None, pad_edge=False)
    for name in ("methods", "kappa", "both"):
        table.add_column(name, justify="left" if name == "methods" else "right", overflow="fold")
    for first, second, kappa, both in _known_pairs(comparison):
        table.add_row(f"{first}, {second}", f"{kappa:.2f}", f"{both:,}")
    return table


def _known_pairs(comparison: Comparison) -> Iterator[tuple[str, str, float, int]]:
    for one in comparison.agreement:
        if one.kept_out is not None:
            yield one.first, one.second, one.kept_out.kappa, one.kept_out.both
