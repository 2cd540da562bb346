"""Peak memory against the number of rows, the vocabulary, and the length of a target.

Usage: `python -m benchmarks.memory [--million] [--quick]`

Each line is a process of its own. Its peak is held against what it had when libraries and model
were loaded and a few samples were scored. The rows are a folder of JSONL shards, which is read,
tokenized and scored with a store.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import torch

from benchmarks.harness import machine, parser, show
from benchmarks.models import MICRO, save_random_model
from benchmarks.pipeline import write_rows
from benchmarks.shapes import webqa

ROWS: tuple[int, ...] = (100, 3_000, 30_000)
MILLION = 1_000_000
SHARD = 10_000
VOCABULARIES = (32_000, 128_000, 256_000)
TARGETS = (16, 256, 1_024, 4_096)
FEW_TARGETS = 64  # with which vocabularies are compared
SMALL_VOCABULARY = 32_000  # with which targets are compared
HEADINGS = ["rows", "before, MiB", "peak, MiB", "more, MiB", "peak against the first"]


def child(*arguments: object) -> tuple[float, float]:
    """MiB before and at the peak of a process of `benchmarks.memory_child`."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.memory_child", *map(str, arguments)],
        check=True, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    before, peak = json.loads(done.stdout.splitlines()[-1])
    return before, peak


def against_rows(sizes: tuple[int, ...]) -> list[tuple[float, float]]:
    """Fetch and score so many rows."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        save_random_model(MICRO, folder / "model")
        return [_peak_of_rows(n, folder) for n in sizes]


def _peak_of_rows(n_rows: int, folder: Path) -> tuple[float, float]:
    with tempfile.TemporaryDirectory(dir=folder) as name:
        source = Path(name) / "rows"
        source.mkdir()
        for number, done in enumerate(range(0, n_rows, SHARD)):
            samples = webqa(min(SHARD, n_rows - done), MICRO.vocab_size, number)
            write_rows(source / f"{number:05}.jsonl", samples)
        return child("rows", source, folder / "model", Path(name) / "run")


def lines(labels: list[str], peaks: list[tuple[float, float]]) -> list[list[str]]:
    """Table lines; each peak also as a multiple of the first."""
    first = peaks[0][1]
    return [
        [label, f"{before:.0f}", f"{peak:.0f}", f"{peak - before:.0f}", f"{peak / first:.3f}"]
        for label, (before, peak) in zip(labels, peaks, strict=True)
    ]


def main() -> None:
    """Print three tables."""
    arguments = _arguments()
    sizes = ROWS[:2] if arguments.quick else ROWS
    sizes += (MILLION,) if arguments.million else ()
    print(machine(torch.device("cpu")))
    show("Rows of WebQA's shape", HEADINGS, lines([f"{n:,}" for n in sizes], against_rows(sizes)))
    vocabularies = VOCABULARIES[:2] if arguments.quick else VOCABULARIES
    peaks = [child("scorer", v, FEW_TARGETS) for v in vocabularies]
    labels = [f"{v:,}" for v in vocabularies]
    show(f"Targets of {FEW_TARGETS} tokens", ["vocabulary", *HEADINGS[1:]], lines(labels, peaks))
    targets = TARGETS[:2] if arguments.quick else TARGETS
    peaks = [child("scorer", SMALL_VOCABULARY, n) for n in targets]
    title = f"Vocabulary of {SMALL_VOCABULARY:,}"
    show(title, ["target tokens", *HEADINGS[1:]], lines([f"{n:,}" for n in targets], peaks))


def _arguments() -> argparse.Namespace:
    made = parser(__doc__)
    made.add_argument("--million", action="store_true", help="a million rows as well")
    return made.parse_args()


if __name__ == "__main__":
    main()
