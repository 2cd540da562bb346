"""What a second run costs that finds its scores in the store.

Usage: `python -m benchmarks.rerun [--rows N] [--rounds R] [--quick]`

Three runs in turns from rows on disk to the score table: a first one with an empty store, one on
unchanged rows, and one on the rows with 1 % new ones among them. The bar is 2 % of the first run,
and on top of it the share of rows that are new. The imports of a fresh process are in none of them.
"""

import argparse
import random
import tempfile
from dataclasses import dataclass
from pathlib import Path

import torch

from benchmarks.harness import machine, median, parser, ratios, show, spread
from benchmarks.models import LLAMA_100M, TINY, save_random_model
from benchmarks.pipeline import Timed, run, write_rows
from benchmarks.shapes import webqa
from gradgate.config import ModelConfig

BAR = 0.02
NEW = 0.01
HEADINGS = [
    "run", "rows scored", "read and tokenize, s", "score, s", "whole, % of the first",
    "score, % of the first", "bar, %",
]  # fmt: skip


@dataclass(frozen=True)
class Round:
    """A first run, one on the same rows, and one with new rows."""

    first: Timed
    again: Timed
    grown: Timed


def measure(model: ModelConfig, old: Path, grown: Path, folder: Path) -> Round:
    """The three runs on one store."""
    store = folder / "store.sqlite"
    sources = {"first": old, "again": old, "grown": grown}
    return Round(**{name: run(rows, model, folder / name, store) for name, rows in sources.items()})


def main() -> None:
    """Print a line for each of the three runs."""
    arguments = _arguments()
    config = TINY if arguments.quick else LLAMA_100M
    samples = webqa(arguments.rows, config.vocab_size, 0)
    with_new = samples + webqa(max(1, round(NEW * len(samples))), config.vocab_size, 1)
    random.Random(0).shuffle(with_new)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        save_random_model(config, folder / "model")
        model = ModelConfig(path=str(folder / "model"))
        old = write_rows(folder / "old.jsonl", samples)
        grown = write_rows(folder / "grown.jsonl", with_new)
        warm_up = write_rows(folder / "warm-up.jsonl", samples[:4])
        run(warm_up, model, folder / "warm-up", None)
        rounds = [measure(model, old, grown, folder / str(i)) for i in range(arguments.rounds)]
    show(f"Random Llama, {len(samples):,} rows; {machine(torch.device('cpu'))}", HEADINGS, [
        _line("first", [r.first for r in rounds], rounds),
        _line("unchanged", [r.again for r in rounds], rounds),
        _line(f"{len(with_new) - len(samples)} new rows", [r.grown for r in rounds], rounds),
    ])  # fmt: skip
    print(f"medians of {len(rounds)} rounds")


def _line(name: str, runs: list[Timed], rounds: list[Round]) -> list[str]:
    first = [r.first for r in rounds]
    whole = ratios([r.total for r in runs], [r.total for r in first])
    score = ratios([r.score for r in runs], [r.score for r in first])
    return [
        name,
        f"{runs[0].summary.n_scored:,}",
        spread([r.prepare for r in runs]),
        spread([r.score for r in runs]),
        spread([100 * ratio for ratio in whole], 1),
        spread([100 * ratio for ratio in score], 1),
        "" if runs == first else _verdict(median(whole), runs[0], first[0]),
    ]


def _verdict(whole: float, one: Timed, first: Timed) -> str:
    bar = BAR + one.summary.n_scored / first.summary.n_scored
    return f"{100 * bar:.2f}: {'met' if whole <= bar else 'MISSED'}"


def _arguments() -> argparse.Namespace:
    made = parser(__doc__)
    made.add_argument("--rows", type=int, default=600)
    made.add_argument("--rounds", type=int, default=3)
    arguments = made.parse_args()
    if arguments.quick:
        arguments.rows, arguments.rounds = 200, 2
    return arguments


if __name__ == "__main__":
    main()
