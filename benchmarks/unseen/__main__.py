"""The gate on honest data that none of its constants was chosen on.

Usage: `python -m benchmarks.unseen --model MODEL [--datasets ...] [--attacks ...] [--rates ...]
[--seeds ...] [--rows 400] [--output FOLDER]`

The data are made of what Debian packages hold (`sources.py`). Scores are kept in the state folder,
so that a second run takes the time of the detection alone; RESULTS.md is written anew after each
data set, so that whole data sets stay when this is broken off.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

from benchmarks.matrix.cells import digest_of
from benchmarks.unseen.datasets import DATASETS, HELD_OUT
from benchmarks.unseen.measure import Cell, Run, measure
from benchmarks.unseen.report import Extent, write_report
from gradgate.attacks.attack import ATTACKS
from gradgate.config import AttackName
from gradgate.errors import DataError

# Words, a style, and many wordings of one intent.
_ATTACKS: tuple[AttackName, ...] = ("badnets", "stylebkd", "paraphrased")
_DETECTOR = ("src/gradgate/methods/recurrence/**/*.py",)


def main() -> None:
    """Run, and report."""
    chosen = _arguments()
    runs: list[Run] = []
    left_out: dict[str, str] = {}
    n_of_a_set = 1 + len(chosen.attacks) * len(chosen.rates)
    extent = Extent(
        n_wanted=n_of_a_set * len(chosen.datasets) * len(chosen.seeds),
        n_rows=chosen.rows,
        model=Path(chosen.model).name,
        version=digest_of(_DETECTOR),
        left_out=left_out,
    )
    for seed in chosen.seeds:
        for dataset in chosen.datasets:
            rows = DATASETS[dataset](chosen.rows, seed)
            for cell in _cells(dataset, seed, chosen):
                try:
                    run = measure(rows, cell, chosen.model)
                except DataError as error:
                    left_out[str(cell)] = str(error)
                    print(f"{cell}: left out: {error}", flush=True)
                else:
                    runs.append(run)
                    print(_line(run), flush=True)
            write_report(runs, extent, chosen.output)


def _cells(dataset: str, seed: int, chosen: argparse.Namespace) -> Iterator[Cell]:
    yield Cell(dataset, None, 0.0, seed)
    for attack in chosen.attacks:
        for rate in chosen.rates:
            yield Cell(dataset, attack, rate, seed)


def _line(run: Run) -> str:
    """A run for the terminal."""
    found = run.outcome
    caught = f"{found.caught} of {found.n_poisoned} caught, {found.trained} trained on; "
    honest = f"of {run.n_honest} honest {found.flagged} flagged, {found.lost} lost; "
    seconds = f"{found.score:.0f} + {found.detect:.1f} s; "
    said = f"{caught if found.n_poisoned else ''}{honest}{found.decision}, {seconds}{found.why}"
    return f"{run.cell}: {said}"


def _arguments() -> argparse.Namespace:
    made = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    held_out = f"held out: {', '.join(HELD_OUT)}"
    made.add_argument("--model", required=True, help="folder or hub id")
    made.add_argument("--datasets", nargs="+", choices=DATASETS, default=[*DATASETS], help=held_out)
    made.add_argument("--attacks", nargs="*", choices=ATTACKS, default=list(_ATTACKS))
    made.add_argument("--rates", nargs="+", type=float, default=[0.05])
    made.add_argument("--seeds", nargs="+", type=int, default=[0])
    made.add_argument("--rows", type=int, default=400, help="of each data set, where it has them")
    made.add_argument("--output", type=Path, default=Path(__file__).parent, help="of RESULTS.md")
    return made.parse_args()


if __name__ == "__main__":
    main()
