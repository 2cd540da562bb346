"""Run the matrix, or report on what is finished.

Usage: `python -m benchmarks.matrix run|report [--datasets ...] [--attacks ...] [--rates ...]
[--seeds ...] [--limit ROWS] [--model MODEL]`

`run` may be killed at any time and goes on where it ended. `report` writes RESULTS.md and two
pictures for what is finished, and says what is missing. Without `--attacks` it is the classic ten
and one attack for each way to hide.
"""

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path

from benchmarks.matrix.cells import CLASSIC, EVASIONS, RATES, ROOT, SEEDS, Cell, plan
from benchmarks.matrix.datasets import DATASETS
from benchmarks.matrix.methods import all_methods, versions
from benchmarks.matrix.report import write_report
from benchmarks.matrix.results import Results
from benchmarks.matrix.run import Bench, run_cells
from gradgate.attacks.attack import ATTACKS
from gradgate.common.state import state_dir

SHARED = ROOT.parent / "shared"


def main() -> None:
    """Compute or report."""
    arguments = _arguments()
    logging.getLogger("gradgate").setLevel(logging.WARNING)
    work = state_dir() / "matrix"
    work.mkdir(exist_ok=True)
    bench = Bench.open(arguments.data, work, str(arguments.model))
    wanted = versions(str(bench.model.identity["sha256"]), arguments.methods)
    results = Results(work / "results.jsonl")
    if arguments.action == "run":
        run_cells(bench, _cells(arguments), wanted, results)
    else:
        finished = results.of(wanted, arguments.limit)
        write_report(finished, _cells(arguments), arguments.output, arguments.model.name)


def _cells(arguments: argparse.Namespace) -> list[Cell]:
    chosen = arguments.datasets, arguments.attacks, arguments.rates, arguments.seeds
    return list(plan(*chosen, arguments.limit))


def _arguments() -> argparse.Namespace:
    made = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    made.add_argument("action", choices=["run", "report"])
    _choice(made, "--datasets", DATASETS)
    _choice(made, "--attacks", ATTACKS, (*CLASSIC, *EVASIONS))
    _choice(made, "--methods", all_methods())
    made.add_argument("--rates", nargs="+", type=float, default=[0.0, *RATES])
    made.add_argument("--seeds", nargs="+", type=int, default=list(SEEDS))
    made.add_argument("--limit", type=int, help="at most so many rows of a dataset: a quick look")
    made.add_argument("--data", type=Path, default=SHARED / "data", help="webqa.jsonl, coqa.jsonl")
    made.add_argument("--model", type=Path, default=SHARED / "models" / "lab-llama")
    made.add_argument("--output", type=Path, default=Path(__file__).parent, help="of report")
    return made.parse_args()


def _choice(
    parser: argparse.ArgumentParser,
    option: str,
    values: Sequence[str],
    chosen: Sequence[str] | None = None,
) -> None:
    """An option that takes some of the values; without it all of them, or those that are chosen."""
    parser.add_argument(option, nargs="+", choices=values, default=list(chosen or values))


if __name__ == "__main__":
    main()
