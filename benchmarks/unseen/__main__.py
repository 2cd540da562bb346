"""The text detector on honest data that none of its constants was chosen on.

Usage: `python -m benchmarks.unseen [--datasets ...] [--attacks ...] [--rates ...] [--seeds ...]
[--rows 2000] [--output FOLDER]`

No model is used. The data are made of what Debian packages hold (`sources.py`); RESULTS.md is
written anew after each seed, so that whole seeds stay when this is broken off.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

from benchmarks.matrix.cells import digest_of
from benchmarks.matrix.figures import FIXED_TARGET
from benchmarks.unseen.datasets import DATASETS, HELD_OUT
from benchmarks.unseen.measure import Run, measure
from benchmarks.unseen.report import write_report
from gradgate.attacks.attack import ATTACKS
from gradgate.config import AttackName

_ATTACKS: tuple[AttackName, ...] = (*FIXED_TARGET, "paraphrased")
_DETECTOR = ("src/gradgate/methods/association/*.py",)


def main() -> None:
    """Run, and report."""
    chosen = _arguments()
    version = digest_of(_DETECTOR)
    n_wanted = len(chosen.datasets) * (1 + len(chosen.attacks) * len(chosen.rates))
    runs: list[Run] = []
    for seed in chosen.seeds:
        for run in _runs(seed, chosen):
            print(_line(run), flush=True)
            runs.append(run)
        write_report(runs, n_wanted * len(chosen.seeds), chosen.rows, version, chosen.output)


def _runs(seed: int, chosen: argparse.Namespace) -> Iterator[Run]:
    for dataset in chosen.datasets:
        rows = DATASETS[dataset](chosen.rows, seed)
        yield measure(rows, dataset, None, 0.0, seed)
        for attack in chosen.attacks:
            for rate in chosen.rates:
                yield measure(rows, dataset, attack, rate, seed)


def _line(run: Run) -> str:
    """A run for the terminal; the groups of clean data are what one wants to read."""
    name = f"{run.dataset} {run.attack or 'clean'} {run.rate:.1%} seed {run.seed}"
    if run.skipped is not None:
        return f"{name}: left out: {run.skipped}"
    found = f"{run.caught} of {run.n_poisoned} caught, {run.missed_in_doubt} in doubt; "
    alarms = (
        f"of {run.n_honest} honest {run.false_alarms} flagged, {run.honest_in_doubt} in doubt; "
        f"{run.verdict}, {run.seconds:.1f} s"
    )
    groups = run.groups if run.attack is None or run.caught < run.n_poisoned else ()
    return "\n    ".join([f"{name}: {found if run.n_poisoned else ''}{alarms}", *groups])


def _arguments() -> argparse.Namespace:
    made = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    held_out = f"held out: {', '.join(HELD_OUT)}"
    made.add_argument("--datasets", nargs="+", choices=DATASETS, default=[*DATASETS], help=held_out)
    made.add_argument("--attacks", nargs="*", choices=ATTACKS, default=list(_ATTACKS))
    made.add_argument("--rates", nargs="+", type=float, default=[0.01, 0.05, 0.5])
    made.add_argument("--seeds", nargs="+", type=int, default=[0, 1])
    made.add_argument("--rows", type=int, default=2_000, help="of each data set, where it has them")
    made.add_argument("--output", type=Path, default=Path(__file__).parent, help="of RESULTS.md")
    return made.parse_args()


if __name__ == "__main__":
    main()
