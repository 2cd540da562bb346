"""Cost against the number of rows, from rows on disk to the score table.

Usage: `python -m benchmarks.cost_vs_rows [--quick]`

Rows of WebQA's shape and a model so small that what gradgate does around it is most of the cost.
The exponent is the slope of the least-squares line through the logarithms: 1 is proportional. A run
before the clock starts takes what only the first one pays. What the start of every run costs, the
check of the model among it, is measured on one row and taken off.
"""

import tempfile
from dataclasses import dataclass
from pathlib import Path

import torch

from benchmarks.harness import exponent, machine, median, parser, show, spread
from benchmarks.models import MICRO, save_random_model
from benchmarks.pipeline import Timed, run, write_rows
from benchmarks.shapes import count, webqa
from gradgate.config import ModelConfig

SIZES = (1_000, 3_000, 10_000, 30_000, 100_000)
QUICK_SIZES = (100, 300, 1_000)
FEW = 10_000  # up to here the median of three runs counts
TARGET, TOLERANCE = 1.0, 0.03
HEADINGS = [
    "rows", "distinct tokens a row", "read and tokenize, s", "score, s", "whole, ms/row",
    "score, ms/row",
]  # fmt: skip


@dataclass(frozen=True)
class Cost:
    """Runs over one number of rows, and the distinct tokens of these rows."""

    n_rows: int
    n_distinct: int
    runs: list[Timed]

    @property
    def whole(self) -> float:
        """Median seconds from rows on disk to the table."""
        return median([run.total for run in self.runs])

    @property
    def score(self) -> float:
        """Median seconds of scoring, the store and the table included."""
        return median([run.score for run in self.runs])


def measure(n_rows: int, model: ModelConfig, folder: Path, n_rounds: int) -> Cost:
    """Score `n_rows` rows with an empty store, `n_rounds` times."""
    samples = webqa(n_rows, MICRO.vocab_size, 0)
    source, n_distinct = write_rows(folder / "rows.jsonl", samples), count(samples).distinct
    del samples
    runs = []
    for _ in range(n_rounds):
        with tempfile.TemporaryDirectory(dir=folder) as name:
            runs.append(run(source, model, Path(name) / "run", Path(name) / "store.sqlite"))
    return Cost(n_rows, n_distinct, runs)


def main() -> None:
    """Print a line for each size, and the exponents."""
    sizes = QUICK_SIZES if parser(__doc__).parse_args().quick else SIZES
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        save_random_model(MICRO, folder / "model")
        model = ModelConfig(path=str(folder / "model"), device="cpu")
        measure(sizes[0], model, folder, 1)
        start = measure(1, model, folder, 5)
        costs = [measure(n, model, folder, 3 if n <= FEW else 1) for n in sizes]
    rows = [_line(cost, start) for cost in costs]
    show(f"Model of 0.04 M parameters, float32; {machine(torch.device('cpu'))}", HEADINGS, rows)
    print(f"start of a run: {start.whole:.2f} s, {start.score:.2f} s of it scoring; taken off")
    found = exponent(sizes, [cost.whole - start.whole for cost in costs])
    met = "met" if abs(found - TARGET) <= TOLERANCE else "MISSED"
    print(f"exponent of the whole cost: {found:.3f}; bar of {TARGET:g} +- {TOLERANCE:g}: {met}")
    print(f"exponent of scoring: {exponent(sizes, [c.score - start.score for c in costs]):.3f}")
    print(f"exponent of the distinct tokens: {exponent(sizes, [c.n_distinct for c in costs]):.3f}")


def _line(cost: Cost, start: Cost) -> list[str]:
    return [
        f"{cost.n_rows:,}",
        f"{cost.n_distinct / cost.n_rows:.1f}",
        spread([run.prepare for run in cost.runs]),
        spread([run.score for run in cost.runs]),
        f"{1000 * (cost.whole - start.whole) / cost.n_rows:.3f}",
        f"{1000 * (cost.score - start.score) / cost.n_rows:.3f}",
    ]


if __name__ == "__main__":
    main()
