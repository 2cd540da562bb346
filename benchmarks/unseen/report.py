"""RESULTS.md from the finished runs; nothing of the texts of the data goes into it."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch

from benchmarks.harness import machine
from benchmarks.matrix.figures import FIXED_TARGET
from benchmarks.matrix.report import table
from benchmarks.unseen.datasets import DATASETS, HELD_OUT
from benchmarks.unseen.measure import Run
from gradgate.attacks.attack import ATTACKS
from gradgate.evaluation.rates import rate
from gradgate.methods.association.method import MAX_BACKDOORS

MISSED = 0.99  # a lower recall is listed by itself
_WORST = 15
_MARK = " *"

HEADER = f"""# Data that no constant was chosen on

Written by `python -m benchmarks.unseen`; do not edit.

The text detector alone, on honest data sets made of what Debian packages hold
(`benchmarks/unseen/datasets.py`), clean and poisoned. There is no model and no gradient here: every
group in doubt stays in doubt, where in a gate run the gradient may find it honest. Verdicts are
those of the default policy, which drops what is flagged: `pass` on data with 1 % poison is right
where recall is 1. More poison groups than three flag nothing, and the verdict is `review`.

**What "unseen" is worth.** The sets without a mark were looked at while the rules were mended on
2026-11-21: they are no longer unseen, and their figures are what mending reached. Those with a
star ({len(HELD_OUT)} of {len(DATASETS)}) are held out: they were written down before the detector
saw any of them, and no rule had been changed for them when these figures were taken. Most come from
the same few sources as the others, so that they are new tasks rather than new worlds.

Recall is the flagged part of the poisoned rows; in brackets the 95 % Clopper-Pearson interval of
the pooled counts, which takes rows for independent although the sets share sources and runs share
rows. CBA's negatives count as honest rows.
"""


def write_report(runs: Sequence[Run], n_wanted: int, n_rows: int, version: str, out: Path) -> None:
    """Write RESULTS.md into the folder `out`.

    Args:
        runs: The finished ones.
        n_wanted: How many there will be.
        n_rows: That each data set was asked for.
        version: Digest of the detector.
        out: Made when it is not there.
    """
    out.mkdir(parents=True, exist_ok=True)
    text = "\n".join([HEADER, *_sections(runs, n_wanted, n_rows, version)])
    (out / "RESULTS.md").write_text(text, encoding="utf-8")


def _sections(runs: Sequence[Run], n_wanted: int, n_rows: int, version: str) -> Iterator[str]:
    done = [run for run in runs if run.skipped is None]
    clean = [run for run in done if run.attack is None]
    poisoned = [run for run in done if run.attack is not None]
    yield _extent(runs, n_wanted, n_rows, version)
    yield "## Clean data\n\n" + _clean(clean)
    yield "## Recall on the held-out sets\n\n" + _recall(_part(poisoned, held_out=True))
    yield "## Recall on the other sets\n\n" + _recall(_part(poisoned, held_out=False))
    yield "## The highest false-positive rates\n\n" + _false_alarms(done)
    yield "## Missed\n\n" + _missed(poisoned)


def _extent(runs: Sequence[Run], n_wanted: int, n_rows: int, version: str) -> str:
    seeds = ", ".join(str(seed) for seed in sorted({run.seed for run in runs})) or "none"
    seconds = [run.seconds for run in runs if run.skipped is None]
    lines = [
        f"{machine(torch.device('cpu'))}; detector {version}.",
        f"{len(runs):,} of {n_wanted:,} runs, seeds: {seeds}; up to {n_rows:,} rows each"
        + (f", {np.median(seconds):.1f} s for one (median)." if seconds else "."),
    ]
    if len({run.seed for run in runs}) == 1:
        lines.append("One seed only, to save time: how much the draw of the rows matters is open.")
    lines += [f"Left out: {_name(run)}: {run.skipped}" for run in runs if run.skipped is not None]
    return "\n".join(f"- {line}" for line in lines) + "\n"


def _clean(runs: Sequence[Run]) -> str:
    parts = [("held out", _part(runs, held_out=True)), ("others", _part(runs, held_out=False))]
    rows = [[f"**{name}**", *_alarms(part), verdicts(part)] for name, part in parts if part]
    for dataset in dict.fromkeys(run.dataset for run in runs):
        own = [run for run in runs if run.dataset == dataset]
        rows.append([_marked(dataset), *_alarms(own), verdicts(own)])
    return table(["data", "rows", "flagged", "in doubt", "pass / review / fail"], rows)


def _alarms(runs: Sequence[Run]) -> list[str]:
    n = sum(run.n_honest for run in runs)
    flagged, in_doubt = (sum(r.false_alarms for r in runs), sum(r.honest_in_doubt for r in runs))
    return [f"{n:,}", f"{flagged / n:.2%}", f"{in_doubt / n:.2%}"]


def _recall(runs: Sequence[Run]) -> str:
    """By attack and rate, and below each the verdicts; the attacks of one target together first."""
    if not runs:
        return "No runs.\n"
    rates = sorted({run.rate for run in runs})
    attacks = [attack for attack in ATTACKS if any(run.attack == attack for run in runs)]
    groups = [("one target", [run for run in runs if run.attack in FIXED_TARGET])]
    groups += [(attack, [run for run in runs if run.attack == attack]) for attack in attacks]
    rows = []
    for name, own in groups:
        cells = [[run for run in own if run.rate == part] for part in rates]
        rows.append([name, *map(pooled_recall, cells)])
        rows.append(["pass / review / fail", *map(verdicts, cells)])
    return table(["recall", *(f"{part:.1%}" for part in rates)], rows)


def pooled_recall(runs: Iterable[Run]) -> str:
    """Recall over all poisoned rows of the runs, with its interval."""
    counts = [(run.caught, run.n_poisoned) for run in runs]
    k, n = sum(k for k, _ in counts), sum(n for _, n in counts)
    found = rate(np.arange(n) < k)
    return f"{found.value:.3f} [{found.low:.3f}, {found.high:.3f}]" if found.n else "-"


def _false_alarms(runs: Sequence[Run]) -> str:
    alarmed = [run for run in runs if run.false_alarms]
    worst = sorted(alarmed, key=lambda run: -run.false_positive_rate)[:_WORST]
    said = f"{len(alarmed):,} of {len(runs):,} runs flagged an honest row" + (
        f"; the worst {len(worst)}:" if worst else ""
    )
    rows = [
        [_marked(r.dataset), _attack(r), f"{r.false_positive_rate:.2%}", str(r.verdict)]
        for r in worst
    ]
    headings = ["data", "attack", "false-positive rate", "verdict"]
    return f"{said}\n" + ("\n" + table(headings, rows) if rows else "")


def _missed(runs: Sequence[Run]) -> str:
    """Runs that look like a mixture by data set, all others by themselves."""
    missed = [run for run in runs if run.recall < MISSED]
    mixtures = [run for run in missed if run.is_mixture]
    rows = [
        [
            _marked(run.dataset),
            _attack(run),
            f"{run.caught} of {run.n_poisoned}",
            str(run.missed_in_doubt),
            str(run.honest_in_doubt),
            str(run.verdict),
        ]
        for run in missed
        if not run.is_mixture
    ]
    said = f"{len(missed):,} of {len(runs):,} runs flagged less than {MISSED:.0%} of the poison.\n"
    if mixtures:
        said += (
            f"In {len(mixtures):,} of these more than {MAX_BACKDOORS} groups looked like "
            "backdoors, so that nothing was flagged and all of them were in doubt: "
            f"{_by_dataset(mixtures, runs)}.\n"
        )
    headings = ["data", "attack", "flagged", "poison in doubt", "honest in doubt", "verdict"]
    return said + (f"The other {len(rows):,}:\n\n" + table(headings, rows) if rows else "")


def _by_dataset(some: Sequence[Run], runs: Sequence[Run]) -> str:
    """How many of the runs of each data set these are."""
    of, all_of = Counter(run.dataset for run in some), Counter(run.dataset for run in runs)
    return ", ".join(f"{_marked(name)} {n} of {all_of[name]}" for name, n in of.items())


def verdicts(runs: Sequence[Run]) -> str:
    """How often each verdict was given."""
    given = [run.verdict for run in runs]
    return " / ".join(str(given.count(verdict)) for verdict in ("pass", "review", "fail"))


def _part(runs: Sequence[Run], *, held_out: bool) -> list[Run]:
    return [run for run in runs if (run.dataset in HELD_OUT) == held_out]


def _marked(dataset: str) -> str:
    return dataset + _MARK * (dataset in HELD_OUT)


def _attack(run: Run) -> str:
    return "clean" if run.attack is None else f"{run.attack} {run.rate:.1%}, seed {run.seed}"


def _name(run: Run) -> str:
    return f"{run.dataset}, {_attack(run)}"
