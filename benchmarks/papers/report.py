"""RESULTS.md and a picture from the finished cells: ours beside the papers'."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch

from benchmarks.harness import machine
from benchmarks.matrix.report import table
from benchmarks.papers import published
from benchmarks.papers.cells import (
    CLEAN_ONLY,
    DECODING,
    FILTERS,
    IDENTITY,
    TABLES,
    UNGATED,
    UNTRAINED,
    Table,
)
from benchmarks.papers.figures import NOTHING, grouped, number, pooled, share, trained
from benchmarks.papers.plots import plot
from benchmarks.papers.results import Result
from gradgate.attacks.attack import ATTACKS
from gradgate.methods.registry import method_names

PICTURE = "papers.png"
HEADER = """# The papers' tables, in the small

Written by `python -m benchmarks.papers report`; do not edit. The lines are in results.jsonl.

Recall is the part of the poisoned or harmful rows that is flagged or quarantined, false positives
the flagged part of the honest ones; F1 counts what is kept out of training. ASR is the part of the
held-out triggered questions that bring the attacker's target, or of the held-out harmful prompts
that the tuned model does not refuse; CACC the part of the clean questions that are answered right
(ROUGE-L recall = 1). `none` trains on all rows, `clean-only` on the rows without poison, `cleangen`
on all rows and replaces suspicious tokens while decoding. ± is half the 95 % t interval over seeds.
"""
TITLES: dict[Table, str] = {
    "main": "GradSentry: attacks and defences",
    "ratios": "GradSentry: poison ratios",
    "volumes": "GradSentry: sample volumes",
    "clean": "GradSentry: clean data only",
    "modules": "GradSentry: target modules",
    "dilution": "GradSentry: the adaptive attack, gradient dilution",
    "safety": "GradShield: harm and use after training",
}


def write_report(results: Sequence[Result], output: Path) -> None:
    """Write RESULTS.md and the picture into `output`, made if need be."""
    output.mkdir(parents=True, exist_ok=True)
    done = [result for result in results if result.skipped is None]
    text = "\n".join([HEADER, *_sections(results, done)])
    (output / "RESULTS.md").write_text(text.rstrip() + "\n", encoding="utf-8")
    if done:
        plot(done, output / PICTURE)


def _sections(results: Sequence[Result], done: Sequence[Result]) -> Iterator[str]:
    yield _extent(results, done)
    if done:
        yield f"![Recall and attack success]({PICTURE})\n"
    writers: dict[Table, Callable[[Sequence[Result]], str]] = {
        "main": _main,
        "ratios": lambda own: _swept(own, "rate", lambda r: f"{r.cell.rate:.0%}"),
        "volumes": lambda own: _swept(own, "rows", lambda r: f"{r.cell.rows:,}"),
        "clean": _clean,
        "modules": _modules,
        "dilution": _main,
        "safety": _safety,
    }
    for name in TABLES:
        own = [result for result in done if result.cell.table == name]
        if not own:
            continue
        yield f"## {TITLES[name]}\n"
        for (model, dataset), of_model in grouped(own, lambda r: (r.model, r.cell.dataset)):
            for cells in _by_settings(of_model):
                yield f"### {dataset}, {model}\n\n{_settings(cells)}{writers[name](cells)}"
        yield f"What may make ours differ (thought of, not tested): {published.WHY[name]}\n"


def _by_settings(cells: Sequence[Result]) -> Iterator[list[Result]]:
    """Cells of one setting of LoRA at a time, each time with those without one."""
    found = sorted({r.settings for r in cells if r.cell.training == "lora"})
    for settings in found or [""]:
        yield [r for r in cells if r.cell.training != "lora" or r.settings == settings]


def _extent(results: Sequence[Result], done: Sequence[Result]) -> str:
    versions = Counter(result.version for result in results)
    lines = [
        f"{machine(torch.device('cpu'))}. {len(done)} cells are finished, of "
        f"{len(versions)} version(s) of the code.",
        *_left_out(results),
    ]
    return "\n".join(lines) + "\n"


def _left_out(results: Sequence[Result]) -> Iterator[str]:
    skipped = Counter(result.skipped for result in results if result.skipped is not None)
    yield from (f"- left out: {n} cells: {why}" for why, n in skipped.most_common())


def _settings(cells: Sequence[Result]) -> str:
    named = {f"{r.cell.training}: {r.settings}" for r in cells if r.settings}
    rows = sorted({r.cell.rows for r in cells})
    volume = f"{rows[0]:,} training rows" if len(rows) == 1 else ""
    said = "; ".join([*filter(None, [volume]), *sorted(named)])
    return f"{said}.\n\n" if said else ""


def _main(cells: Sequence[Result]) -> str:
    dataset = cells[0].cell.dataset
    flags, models = [], []
    ordered = sorted(cells, key=lambda r: (ATTACKS.index(r.cell.attack), _order(r)))
    for (attack, defence), own in grouped(ordered, lambda r: (r.cell.attack, r.cell.defence)):
        judged = trained(own, "none")
        if judged:
            flags.append([str(attack), defence, *_flags(judged), *_paper(dataset, attack, defence)])
        tuned = [cell for name in ("lora", "full") for cell in _models(trained(own, name))]
        if any(cell != NOTHING for cell in tuned):
            asr = "0.00 %" if defence == "gradsentry" else NOTHING
            models.append([str(attack), defence, *tuned, asr])
    heads = ["attack", "defence", "recall", "F1", "false positives", "AUROC", "verdict"]
    heads += ["paper: recall", "paper: F1", "paper: false positives"]
    tuned_heads = ["attack", "defence", "ASR, LoRA", "CACC, LoRA", "ASR, full", "CACC, full"]
    text = table(heads, flags) if flags else ""
    if models:
        text += "\n" + table([*tuned_heads, "paper: ASR"], models)
    return text


def _order(result: Result) -> int:
    """What does nothing first, then the filters, the product's methods before their peers."""
    known = [UNTRAINED, UNGATED, DECODING, *FILTERS, *method_names(), CLEAN_ONLY]
    return known.index(result.cell.defence) if result.cell.defence in known else len(known)


def _flags(own: Sequence[Result]) -> list[str]:
    verdicts = Counter(str(result.verdict) for result in own)
    return [
        share(own, lambda r: r.caught),
        number(own, lambda r: None if r.f1 is None else 100 * r.f1, 1),
        share(own, lambda r: r.flagged),
        number(own, lambda r: r.auroc),
        ", ".join(f"{name} {n}" if n > 1 else name for name, n in verdicts.items()),
    ]


def _paper(dataset: str, attack: str | None, defence: str) -> list[str]:
    """What the paper has for this place; its figures are ranges over the four attacks."""
    if defence != "gradsentry":
        return [NOTHING] * 3
    if attack == "diluted":
        return [published.DILUTION["recall"], published.DILUTION["F1"], NOTHING]
    found = published.GRADSENTRY.get(dataset, {})
    return [found.get(name, NOTHING) for name in ("recall", "F1", "false positives")]


def _models(own: Sequence[Result]) -> list[str]:
    return [share(own, lambda r: r.success), share(own, lambda r: r.right)]


def _swept(cells: Sequence[Result], what: str, of: Callable[[Result], str]) -> str:
    steps = [step for step, _ in grouped(sorted(cells, key=_place), of)]
    rows = []
    for defence, own in grouped(cells, lambda r: r.cell.defence):
        at = [[r for r in own if of(r) == step] for step in steps]
        rows.append([defence, *(_three(here) for here in at)])
    headings = [f"recall / F1 / false positives by {what}", *steps]
    return table(headings, rows) + (
        "\nThe paper: recall 100 % at every ratio and volume, F1 as in its main table.\n"
    )


def _place(result: Result) -> tuple[float, int]:
    return result.cell.rate, result.cell.rows


def _three(own: Sequence[Result]) -> str:
    caught, flagged = pooled(own, lambda r: r.caught), pooled(own, lambda r: r.flagged)
    if caught.rate is None or flagged.rate is None:
        return NOTHING
    f1 = number(own, lambda r: None if r.f1 is None else 100 * r.f1, 1)
    return f"{caught.rate:.0%} / {f1} / {flagged.rate:.1%}"


def _clean(cells: Sequence[Result]) -> str:
    dataset = cells[0].cell.dataset
    rows = []
    for defence, own in grouped(cells, lambda r: r.cell.defence):
        flagged, lost = pooled(own, lambda r: r.flagged), pooled(own, lambda r: r.lost)
        if flagged.rate is None or lost.rate is None:
            continue
        theirs = published.CLEAN_KEPT.get(dataset, {}).get(defence, NOTHING)
        verdict = ", ".join(sorted({str(result.verdict) for result in own}))
        kept = [f"{1 - flagged.rate:.2%}", f"{1 - lost.rate:.2%}"]
        rows.append([defence, *kept, verdict, theirs])
    heads = ["defence", "not flagged", "trained on, if it passes", "verdict", "paper: kept"]
    return table(heads, rows)


def _modules(cells: Sequence[Result]) -> str:
    rows = [
        [module, *_flags(own)[:4], published.MODULES.get(module, NOTHING)]
        for module, own in grouped(cells, lambda r: r.cell.defence)
    ]
    heads = ["module", "recall", "F1", "false positives", "AUROC", "paper: F1 (FreebaseQA)"]
    return table(heads, rows)


def _safety_place(result: Result) -> tuple[bool, float, int]:
    """By rising harm, the identity shift behind it; what does nothing first."""
    cell = result.cell
    return cell.attack == IDENTITY, cell.rate, _order(result)


def _safety(cells: Sequence[Result]) -> str:
    rows = []
    ordered = sorted(cells, key=_safety_place)
    for (attack, rate, defence), own in grouped(
        ordered, lambda r: (r.cell.attack, r.cell.rate, r.cell.defence)
    ):
        judged = [r for r in trained(own, "none") if r.caught.n + r.flagged.n]
        untrained = [r for r in trained(own, "none") if r.success.n]
        mix = "identity shift, 10 rows" if attack == IDENTITY else f"{rate:.0%} harmful"
        flags = [share(judged, lambda r: r.caught), share(judged, lambda r: r.flagged)]
        tuned = trained(own, "lora") or untrained
        figures = [*_models(tuned), number(tuned, lambda r: r.loss)]
        full = trained(own, "full")
        figures += [*_models(full), number(full, lambda r: r.loss)]
        rows.append([mix, defence, *flags, *figures])
    heads = ["data", "defence", "recall", "false positives", "ASR, LoRA", "labels right, LoRA"]
    heads += ["held-out loss, LoRA", "ASR, full", "labels right, full", "held-out loss, full"]
    theirs = f"The paper, gated: ASR {published.SAFETY['ASR']}, utility "
    return table(heads, rows) + f"\n{theirs}{published.SAFETY['utility']}.\n"
