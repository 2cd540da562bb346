"""Run the papers' tables, or report on what is finished.

Usage: `python -m benchmarks.papers run|report [--tables ...] [--model MODEL] [--datasets ...] ...`

`run` may be killed at any time and goes on where it ended; a line is written as soon as a cell is
finished. `report` writes RESULTS.md and a picture of all lines. `--quick` is a small look at all
tables. For the table `safety` the model has to refuse: `python -m benchmarks.papers.aligned` makes
one.
"""

import argparse
import logging
from collections.abc import Iterable
from itertools import groupby
from pathlib import Path
from typing import Any

from benchmarks.matrix.cells import ROOT
from benchmarks.matrix.datasets import DATASETS
from benchmarks.papers import backdoors, modules, safety
from benchmarks.papers.bench import Bench
from benchmarks.papers.cells import MODULES, NO_FILTERS, TABLES, TRAININGS, Cell, Extent
from benchmarks.papers.mixes import BENIGN
from benchmarks.papers.report import write_report
from benchmarks.papers.results import Results
from gradgate.attacks.attack import ATTACKS
from gradgate.common.state import state_dir
from gradgate.config import FinetuneConfig, ModelConfig
from gradgate.methods.registry import method_names

HERE = Path(__file__).parent
DEMO_MODEL = ROOT / "demo" / "model"
QUICK = {
    "rates": [0.1, 0.5],
    "volumes": [20, 100],
    "attacks": ["badnets"],
    "harm_rates": [0.0, 0.2],
    "safety_seeds": [0],
    "rows": 150,
    "safety_rows": 60,
}


def main() -> None:
    """Compute or report."""
    given = _arguments()
    logging.getLogger("gradgate").setLevel(logging.WARNING)
    results = Results(given.results)
    if given.action == "run":
        run(_bench(given), _extent(given).plan(), results)
    write_report(results.all(), given.output)


def run(bench: Bench, cells: Iterable[Cell], results: Results) -> None:
    """Compute what is missing; what is finished stays when this is broken off."""
    kinds = {"modules": modules.compute, "safety": safety.compute}
    for data, group in groupby(cells, lambda cell: cell.data):
        todo = [c for c in group if not results.has(c, bench.name, bench.settings(c.training))]
        if not todo:
            continue
        for result in kinds.get(data[0], backdoors.compute)(bench, todo):
            results.add(result)
            print(f"{result.cell}: {_said(result)}", flush=True)


def _said(result: Any) -> str:
    if result.skipped is not None:
        return f"left out: {result.skipped}"
    named = {
        "caught": result.caught,
        "flagged": result.flagged,
        "ASR": result.success,
        "right": result.right,
    }
    return ", ".join(f"{name} {one.k}/{one.n}" for name, one in named.items() if one.n)


def _bench(given: argparse.Namespace) -> Bench:
    work = state_dir() / "papers"
    work.mkdir(exist_ok=True)
    model = ModelConfig(path=str(given.model), dtype=given.dtype, device=given.device)
    shared = {"epochs": given.epochs, "batch_size": given.batch}
    tunings = {
        "lora": FinetuneConfig(r=16, alpha=32, learning_rate=given.lora_rate, **shared),
        "full": FinetuneConfig(kind="full", learning_rate=given.full_rate, **shared),
    }
    test_rows = 20 if given.quick else given.test_rows
    return Bench.open(given.data, work, model, tunings, test_rows)  # type: ignore[arg-type]


def _extent(given: argparse.Namespace) -> Extent:
    names = [name for name in vars(given) if name in Extent.__dataclass_fields__]
    chosen = {name: getattr(given, name) for name in names if getattr(given, name) is not None}
    return Extent(**{**(QUICK if given.quick else {}), **chosen})


def _arguments() -> argparse.Namespace:
    made = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    made.add_argument("action", choices=["run", "report"])
    made.add_argument("--quick", action="store_true", help="few rows; the figures mean nothing")
    made.add_argument("--tables", nargs="+", choices=TABLES)
    made.add_argument("--datasets", nargs="+", choices=DATASETS)
    made.add_argument("--benign", nargs="+", choices=BENIGN, help="utility data of `safety`")
    made.add_argument("--attacks", nargs="+", choices=ATTACKS)
    made.add_argument("--defences", nargs="+", choices=[*NO_FILTERS[:3], *method_names()])
    made.add_argument("--safety-defences", nargs="+", choices=[*NO_FILTERS, *method_names()])
    made.add_argument("--modules", nargs="+", choices=MODULES)
    made.add_argument("--trainings", nargs="*", choices=TRAININGS[1:])
    made.add_argument("--rates", nargs="+", type=float)
    made.add_argument("--volumes", nargs="+", type=int)
    made.add_argument("--harm-rates", nargs="+", type=float)
    made.add_argument("--seeds", nargs="+", type=int)
    made.add_argument("--safety-seeds", nargs="+", type=int)
    made.add_argument("--rows", type=int, help="training rows of a dataset")
    made.add_argument("--safety-rows", type=int, help="training rows of `safety`")
    made.add_argument("--test-rows", type=int, default=200, help="rows held back for questions")
    made.add_argument("--model", type=Path, default=DEMO_MODEL)
    made.add_argument("--dtype", choices=["auto", "float32", "bfloat16"], default="auto")
    made.add_argument("--device", default="auto")
    made.add_argument("--epochs", type=float, default=3.0)
    made.add_argument("--batch", type=int, default=4)
    made.add_argument("--lora-rate", type=float, default=5e-3, help="learning rate of LoRA")
    made.add_argument("--full-rate", type=float, default=3e-4, help="and of all parameters")
    made.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    made.add_argument("--results", type=Path, default=HERE / "results.jsonl")
    made.add_argument("--output", type=Path, default=HERE, help="folder of RESULTS.md")
    return made.parse_args()


if __name__ == "__main__":
    main()
