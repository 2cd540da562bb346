"""RESULTS.md and two pictures from the finished cells."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeAlias

import torch

from benchmarks.harness import machine
from benchmarks.matrix import bars
from benchmarks.matrix.cells import EVASIONS, Cell
from benchmarks.matrix.figures import (
    FIXED_TARGET,
    clean,
    false_positive_rate,
    grouped,
    lost,
    mean,
    mean_over_seeds,
    methods_of,
    poisoned,
    recall,
    verdicts,
)
from benchmarks.matrix.plots import plot_false_alarms, plot_recall
from benchmarks.matrix.results import Result
from gradgate.attacks.attack import ATTACKS

ByMethod: TypeAlias = dict[str, list[Result]]

OPEN = ("paraphrased", "clean_label", "adaptive")
HEADER = """# The matrix

Written by `make matrix` (`python -m benchmarks.matrix report`); do not edit.

Attacks of `gradgate.attacks` on every dataset at every rate, judged by every method on the same
rows and the same scores. Caught and lost are rows that are flagged or quarantined, poisoned and
honest ones: a training does without them. Recall is the caught part of the poison, precision the
poisoned part of what is kept out. The false-positive rate is the flagged part of the honest rows.
Poison is trained on where it is not caught and the verdict is `pass`. In brackets the 95 %
Clopper-Pearson interval of the pooled counts, which takes rows for independent although cells share
them; `seeds ±` is half the 95 % t interval over the seeds, each seed's rows pooled, and the more
honest of the two. CBA's negatives count as honest rows.

`gradsentry` is the published rule (KDE valley where it is reliable, otherwise 0.7). `length` (log
of the number of target tokens) and `loss` take the same valley on their own scale and, where it is
not reliable, flag what lies above the upper Tukey fence. The verdict of these four is the default
policy on the flagged part.
"""


def write_report(
    results: Sequence[Result], cells: Sequence[Cell], output: Path, model: str
) -> None:
    """Write RESULTS.md, recall.png and false-alarms.png into `output`, made if need be."""
    output.mkdir(parents=True, exist_ok=True)
    wanted = set(cells)
    chosen = [r for r in results if r.cell in wanted]
    judged = [r for r in chosen if r.skipped is None]
    text = "\n".join([HEADER, *_sections(chosen, judged, wanted, model)])
    (output / "RESULTS.md").write_text(text, encoding="utf-8")
    if judged:
        plot_false_alarms(judged, output / "false-alarms.png")
    if any(r.n_poisoned for r in judged):
        plot_recall(judged, output / "recall.png")


def _sections(
    chosen: Sequence[Result], judged: Sequence[Result], wanted: set[Cell], model: str
) -> Iterator[str]:
    yield _extent(chosen, wanted, model)
    by_method = {m: [r for r in judged if r.method == m] for m in methods_of(judged)}
    if not by_method:
        return
    yield "## Summary\n\n" + _summary(by_method)
    yield "## Bars\n\n" + _bars(by_method)
    yield "![Recall](recall.png)\n\n![False alarms](false-alarms.png)\n"
    yield "## How well each score orders the rows\n\n" + _orders(by_method)
    for method, own in by_method.items():
        yield f"## {method}\n\n" + _by_rate(own) + "\n" + _by_dataset(own)


def table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; a bar in a text does not end its cell."""
    lines = [headings, ["---"] * len(headings), *rows]
    escaped = ([text.replace("|", r"\|") for text in line] for line in lines)
    return "".join(f"| {' | '.join(line)} |\n" for line in escaped)


def _extent(chosen: Sequence[Result], wanted: set[Cell], model: str) -> str:
    """What was run and what is missing."""
    finished = {m: len({r.cell for r in chosen if r.method == m}) for m in methods_of(chosen)}
    done = ", ".join(f"{method} {n:,}" for method, n in finished.items()) or "none"
    lines = [
        f"{machine(torch.device('cpu'))}; model {model}.",
        f"Finished cells, of {len(wanted):,}: {done}.",
    ]
    limits = {cell.limit for cell in wanted if cell.limit is not None}
    lines += [f"At most {limit:,} rows of a dataset were taken." for limit in limits]
    rejected = sum({r.cell: r.n_rejected for r in chosen}.values())
    if rejected:
        lines.append(
            f"{rejected:,} rows of all cells were too long to be scored; they don't count."
        )
    return "\n".join(lines) + "\n\n" + _left_out(chosen)


def _left_out(chosen: Sequence[Result]) -> str:
    """The cells that cannot be, by dataset and attack, with one of the reasons."""
    skipped = {r.cell: r.skipped for r in chosen if r.skipped is not None}
    lines = []
    for dataset, attack in dict.fromkeys((cell.dataset, cell.attack) for cell in skipped):
        cells = [cell for cell in skipped if (cell.dataset, cell.attack) == (dataset, attack)]
        rates = ", ".join(f"{rate:.1%}" for rate in sorted({cell.rate for cell in cells}))
        lines.append(
            f"- left out: {len(cells)} cells of {dataset} with {attack} at {rates}, "
            f"such as: {skipped[cells[0]]}\n"
        )
    return "".join(lines)


def _summary(by_method: ByMethod) -> str:
    """One column a method; this is the table of the README."""
    lines: dict[str, list[str]] = {}
    for own in by_method.values():
        for name, figure in _figures(own).items():
            lines.setdefault(name, []).append(figure)
    return table(["", *by_method], [[name, *figures] for name, figures in lines.items()])


def _figures(own: Sequence[Result]) -> dict[str, str]:
    high = poisoned(own, FIXED_TARGET, at_least=0.01)
    low = poisoned(own, FIXED_TARGET, below=0.01, n_poisoned=10)
    figures = {
        "fixed target, 1 % and more: recall": str(recall(high) or "-"),
        "fixed target, 1 % and more: F1": mean_over_seeds(high, lambda r: r.f1),
        "the same score, best threshold at 1 % false alarms": _number(mean(high, _oracle)),
        "fixed target, 0.5 %: recall": str(recall(low) or "-"),
    }
    for attack in OPEN:
        cells = [r for r in own if r.attack == attack]
        figures[f"{attack.replace('_', '-')}: recall, all rates"] = str(recall(cells) or "-")
    evading = [r for r in own if r.attack in EVASIONS]
    figures["evasions: recall, all rates"] = str(recall(evading) or "-")
    poisoned_data = [r for r in own if r.attack is not None]
    leaving = sum(r.trained > 0 for r in poisoned_data)
    return {
        **figures,
        "false-positive rate, poisoned data": str(false_positive_rate(poisoned_data) or "-"),
        "false-positive rate, clean data": str(false_positive_rate(clean(own)) or "-"),
        "honest rows lost, poisoned data": str(lost(poisoned_data) or "-"),
        "honest rows lost, clean data": str(lost(clean(own)) or "-"),
        "poisoned runs that leave poison to train on": f"{leaving} of {len(poisoned_data)}",
        "clean runs: pass / review / fail": verdicts(clean(own)),
        "poisoned runs: pass / review / fail": verdicts(poisoned_data),
        "ms a row, scores given": _milliseconds(own),
    }


def _milliseconds(own: Sequence[Result]) -> str:
    n_rows = sum(r.n_poisoned + r.n_honest for r in own)
    return f"{1000 * sum(r.seconds for r in own) / n_rows:.2f}"


def _bars(by_method: ByMethod) -> str:
    checked = {method: bars.check(own) for method, own in by_method.items()}
    asked = [bar.asked for bar in next(iter(checked.values()))]
    rows = [[name, *(str(found[i]) for found in checked.values())] for i, name in enumerate(asked)]
    return table(["bar, for every cell", *checked], rows)


def _orders(by_method: ByMethod) -> str:
    """Area under the ROC curve at 10 %, or at the highest rate there is below it."""
    rated = {m: own for m, own in by_method.items() if any(r.auroc is not None for r in own)}
    rates = sorted({r.rate for own in rated.values() for r in own if r.auroc is not None})
    if not rates:
        return "No cell has both kinds of rows.\n"
    rate = max([r for r in rates if r <= 0.1] or rates[:1])
    rows = []
    for dataset, cells in grouped(r for own in rated.values() for r in own if r.rate == rate):
        for attack in _attacks(cells):
            here = [r for r in cells if r.attack == attack]
            rows.append([dataset, attack, *(_order(here, method) for method in rated)])
    intro = (
        f"Area under the ROC curve at {rate:.1%} poison (0.5 is chance), and recall with the best "
        "threshold at 1 % false alarms, which takes the truth to find. Means over seeds.\n\n"
    )
    return intro + table(["data", "attack", *rated], rows)


def _order(results: Sequence[Result], method: str) -> str:
    own = [r for r in results if r.method == method]
    return f"{_number(mean(own, lambda r: r.auroc))}, {_number(mean(own, _oracle))}"


def _oracle(result: Result) -> float | None:
    return result.oracle


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _attacks(results: Sequence[Result]) -> list[str]:
    return [attack for attack in ATTACKS if any(r.attack == attack for r in results)]


def _by_rate(own: Sequence[Result]) -> str:
    """Recall and verdicts by attack and rate, over all datasets."""
    rates = sorted({r.rate for r in own if r.attack is not None})
    rows = []
    for attack in _attacks(own):
        cells = [[r for r in own if r.attack == attack and r.rate == rate] for rate in rates]
        rows.append([attack, *(str(recall(here) or "-") for here in cells)])
        rows.append(["pass / review / fail", *(verdicts(here) for here in cells)])
    return table(["recall, all data", *(f"{rate:.1%}" for rate in rates)], rows)


def _by_dataset(own: Sequence[Result]) -> str:
    """Recall / F1 / false-positive rate by dataset, attack and rate, means over seeds."""
    rates = sorted({r.rate for r in own if r.attack is not None})
    rows = []
    for dataset, cells in grouped(own):
        alarms = mean(clean(cells), lambda r: r.false_positive_rate)
        kept_out = mean(clean(cells), lambda r: r.lost_rate) or 0.0
        text = (
            "-"
            if alarms is None
            else (f"clean: {alarms:.1%} flagged, {kept_out:.1%} lost, {verdicts(clean(cells))}")
        )
        rows.append([f"**{dataset}**", text, *("" for _ in rates[1:])])
        for attack in _attacks(cells):
            here = [[r for r in cells if r.attack == attack and r.rate == rate] for rate in rates]
            rows.append([attack, *map(_three, here)])
    headings = [f"{rate:.1%}" for rate in rates] or [""]
    return table(["recall / F1 / false-positive rate", *headings], rows)


def _three(results: Sequence[Result]) -> str:
    if not results:
        return "-"
    found = mean(results, lambda r: r.recall), mean(results, lambda r: r.f1)
    alarms = mean(results, lambda r: r.false_positive_rate)
    return f"{found[0]:.3f} / {found[1]:.2f} / {alarms:.1%}"
