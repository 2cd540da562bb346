"""RESULTS.md from the finished runs; nothing of the texts of the data goes into it."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.harness import default_device, machine
from benchmarks.matrix.figures import FIXED_TARGET
from benchmarks.matrix.report import table
from benchmarks.unseen.datasets import DATASETS, HELD_OUT
from benchmarks.unseen.measure import Run
from gradgate.attacks.attack import ATTACKS
from gradgate.evaluation.rates import rate

MISSED = 0.99  # a lower recall is listed by itself
_WORST = 15
_MARK = " *"

HEADER = f"""# Data that no constant was chosen on

Written by `python -m benchmarks.unseen`; do not edit.

The gate with its default method and policy, without canaries, on honest data sets made of what
Debian packages hold (`benchmarks/unseen/datasets.py`), clean and poisoned.

**What "unseen" is worth.** The sets without a mark were looked at while the rules of an earlier
method were mended on 2026-11-21: they are no longer unseen. Those with a star ({len(HELD_OUT)} of
{len(DATASETS)}) are held out: they were written down before any detector saw them, and no rule was
mended on them. Most come from the same few sources as the others, so that they are new tasks rather
than new worlds.

Caught and lost are rows that are flagged or quarantined: poisoned ones and honest ones. Trained on
is the poison that remains where the verdict is `pass`. Recall is the caught part of the poisoned
rows; in brackets the 95 % Clopper-Pearson interval of the pooled counts, which takes rows for
independent although the sets share sources and runs share rows. CBA's negatives count as honest
rows.
"""


@dataclass(frozen=True)
class Extent:
    """What was to be run.

    Attributes:
        n_wanted: How many runs there will be.
        n_rows: That each data set was asked for.
        model: Its name.
        version: Digest of the detector.
        left_out: Runs that cannot be, and why.
    """

    n_wanted: int
    n_rows: int
    model: str
    version: str
    left_out: Mapping[str, str]


def write_report(runs: Sequence[Run], extent: Extent, out: Path) -> None:
    """Write RESULTS.md into the folder `out`, which is made when it is not there."""
    out.mkdir(parents=True, exist_ok=True)
    text = "\n".join([HEADER, *_sections(runs, extent)])
    (out / "RESULTS.md").write_text(text, encoding="utf-8")


def _sections(runs: Sequence[Run], extent: Extent) -> Iterator[str]:
    clean = [run for run in runs if run.cell.attack is None]
    poisoned = [run for run in runs if run.cell.attack is not None]
    yield _extent(runs, extent)
    yield "## Clean data\n\n" + _clean(clean)
    yield "## Recall on the held-out sets\n\n" + _recall(_part(poisoned, held_out=True))
    yield "## Recall on the other sets\n\n" + _recall(_part(poisoned, held_out=False))
    yield "## Where most honest rows are lost\n\n" + _losses(runs)
    yield "## Missed\n\n" + _missed(poisoned)


def _extent(runs: Sequence[Run], extent: Extent) -> str:
    seeds = ", ".join(str(seed) for seed in sorted({run.cell.seed for run in runs})) or "none"
    lines = [
        f"{machine(default_device())}; model {extent.model}; detector {extent.version}.",
        f"{len(runs):,} of {extent.n_wanted:,} runs, seeds: {seeds}; "
        f"up to {extent.n_rows:,} rows each.",
    ]
    if runs:
        seconds = np.median([run.outcome.detect for run in runs])
        lines.append(f"Detection and decision take {seconds:.1f} s a run (median).")
    if len({run.cell.seed for run in runs}) == 1:
        lines.append("One seed only, to save time: how much the draw of the rows matters is open.")
    lines += [f"Left out: {name}: {why}" for name, why in extent.left_out.items()]
    return "\n".join(f"- {line}" for line in lines) + "\n"


def _clean(runs: Sequence[Run]) -> str:
    parts = [("held out", _part(runs, held_out=True)), ("others", _part(runs, held_out=False))]
    rows = [[f"**{name}**", *_shares(part), verdicts(part)] for name, part in parts if part]
    for dataset in dict.fromkeys(run.cell.dataset for run in runs):
        own = [run for run in runs if run.cell.dataset == dataset]
        rows.append([_marked(dataset), *_shares(own), verdicts(own)])
    return table(["data", "rows", "flagged", "lost", "pass / review / fail"], rows)


def _shares(runs: Sequence[Run]) -> list[str]:
    n = sum(run.n_honest for run in runs)
    flagged, lost = (sum(r.outcome.flagged for r in runs), sum(r.outcome.lost for r in runs))
    return [f"{n:,}", f"{flagged / n:.2%}", f"{lost / n:.2%}"]


def _recall(runs: Sequence[Run]) -> str:
    """By attack and rate, and below each the verdicts; the attacks of one target together first."""
    if not runs:
        return "No runs.\n"
    rates = sorted({run.cell.rate for run in runs})
    attacks = [attack for attack in ATTACKS if any(run.cell.attack == attack for run in runs)]
    groups = [("one target", [run for run in runs if run.cell.attack in FIXED_TARGET])]
    groups += [(attack, [run for run in runs if run.cell.attack == attack]) for attack in attacks]
    rows = []
    for name, own in groups:
        cells = [[run for run in own if run.cell.rate == part] for part in rates]
        rows.append([name, *map(pooled_recall, cells)])
        rows.append(["pass / review / fail", *map(verdicts, cells)])
    return table(["recall", *(f"{part:.1%}" for part in rates)], rows)


def pooled_recall(runs: Iterable[Run]) -> str:
    """Recall over all poisoned rows of the runs, with its interval."""
    counts = [(run.outcome.caught, run.outcome.n_poisoned) for run in runs]
    k, n = sum(k for k, _ in counts), sum(n for _, n in counts)
    found = rate(np.arange(n) < k)
    return f"{found.value:.3f} [{found.low:.3f}, {found.high:.3f}]" if found.n else "-"


def _losses(runs: Sequence[Run]) -> str:
    losing = [run for run in runs if run.outcome.lost]
    worst = sorted(losing, key=lambda run: -run.lost)[:_WORST]
    said = f"{len(losing):,} of {len(runs):,} runs lost an honest row" + (
        f"; the worst {len(worst)}:" if worst else ""
    )
    rows = [
        [_marked(run.cell.dataset), run.cell.how, f"{run.lost:.2%}", run.outcome.decision]
        for run in worst
    ]
    return f"{said}\n" + ("\n" + table(["data", "attack", "lost", "verdict"], rows) if rows else "")


def _missed(runs: Sequence[Run]) -> str:
    missed = [run for run in runs if run.recall < MISSED]
    rows = [
        [
            _marked(run.cell.dataset),
            run.cell.how,
            f"{run.outcome.caught} of {run.outcome.n_poisoned}",
            str(run.outcome.trained),
            str(run.outcome.lost),
            run.outcome.decision,
        ]
        for run in missed
    ]
    said = f"{len(missed):,} of {len(runs):,} runs caught less than {MISSED:.0%} of the poison"
    headings = ["data", "attack", "caught", "trained on", "honest lost", "verdict"]
    return said + (":\n\n" + table(headings, rows) if rows else ".\n")


def verdicts(runs: Sequence[Run]) -> str:
    """How often each verdict was given."""
    given = [run.outcome.decision for run in runs]
    return " / ".join(str(given.count(verdict)) for verdict in ("pass", "review", "fail"))


def _part(runs: Sequence[Run], *, held_out: bool) -> list[Run]:
    return [run for run in runs if (run.cell.dataset in HELD_OUT) == held_out]


def _marked(dataset: str) -> str:
    return dataset + _MARK * (dataset in HELD_OUT)
