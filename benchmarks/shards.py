"""What a second worker of Ray brings, and what it costs when one is killed.

Usage: `python -m benchmarks.shards [--rows N] [--rounds R] [--unit-tokens N] [--quick]`

One worker of one core and two workers of a core each score the same shards in turns, on a cluster
that is there already. Whole runs: actors start, import and load the model in each. Wall-clock time
means nothing on a machine that does other work too. So the bar, 1.7 times as fast, is held against
the processor time of the worker that has most of it, which is what the wall-clock time would be on
a machine that does nothing else, but for what both want at once (memory). In a last run one of two
workers is killed in the middle. All runs must give the same bytes.
"""

import argparse
import os
import signal
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import ray
import torch

from benchmarks.harness import machine, median, parser, ratios, show, spread
from benchmarks.models import LLAMA_100M, TINY, save_random_model
from benchmarks.pipeline import write_rows
from benchmarks.shapes import webqa
from gradgate.common.files import file_sha256
from gradgate.config import DataConfig, ModelConfig, RayConfig, ScoringConfig
from gradgate.data.prepare import Prepared, prepare
from gradgate.models.identity import identify_model
from gradgate.models.loading import load_tokenizer
from gradgate.scoring.backends.backend import all_shards
from gradgate.scoring.backends.ray import RayBackend
from gradgate.scoring.context import score_context
from gradgate.scoring.shards.folder import ShardFolder
from gradgate.scoring.shards.merge import merge
from gradgate.scoring.shards.planning import Recipe, write_plan

BAR = 1.7
_POLL_SECONDS = 0.2
HEADINGS = ["workers", "wall, s", "busiest worker, processor s", "all, processor s", "shards"]


@dataclass(frozen=True)
class Run:
    """One job.

    Attributes:
        wall: Seconds.
        workers: Processor seconds of each worker.
        digest: Of the merged table.
    """

    wall: float
    workers: list[float]
    n_shards: int
    digest: str

    @property
    def busiest(self) -> float:
        """Processor seconds of the worker that has most."""
        return max(self.workers)


@contextmanager
def watched() -> Iterator[dict[int, float]]:
    """Processor seconds of the actors of this process by their pids, as last seen."""
    seen: dict[int, float] = {}
    over = threading.Event()

    def watch() -> None:
        while not over.wait(_POLL_SECONDS):
            for actor in actors():
                try:
                    times = actor.cpu_times()
                except psutil.NoSuchProcess:
                    continue
                seen[actor.pid] = times.user + times.system

    thread = threading.Thread(target=watch)
    thread.start()
    yield seen
    over.set()
    thread.join()


def actors() -> list[psutil.Process]:
    """The processes that score."""
    children = psutil.Process().children(recursive=True)
    return [one for one in children if one.name().startswith("ray::_Actor")]


def measure(
    folder: Path,
    prepared: Prepared,
    model: ModelConfig,
    n_workers: int,
    unit_tokens: int | None = None,
    kill: bool = False,
) -> Run:
    """Score and merge in a folder of its own."""
    shards, scoring = ShardFolder(folder), ScoringConfig()
    context = score_context(identify_model(model), scoring)
    plan = write_plan(shards, prepared, Recipe(context, model, scoring), unit_tokens)
    wanted = all_shards(shards, plan)
    started = time.perf_counter()
    with watched() as seen:
        done = RayBackend(RayConfig(workers=n_workers))(str(folder), wanted, model)
        for number, _ in enumerate(done):
            if kill and number == 1:
                os.kill(actors()[0].pid, signal.SIGKILL)
    wall = time.perf_counter() - started
    merge(shards, plan, folder / "scores.parquet")
    return Run(wall, list(seen.values()), len(wanted), file_sha256(folder / "scores.parquet"))


def main() -> None:
    """Print a line for each number of workers, and the bar."""
    arguments = _arguments()
    config = TINY if arguments.quick else LLAMA_100M
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        save_random_model(config, folder / "model")
        model = ModelConfig(path=str(folder / "model"), device="cpu", dtype="float32")
        rows = write_rows(folder / "rows.jsonl", webqa(arguments.rows, config.vocab_size, 0))
        data = DataConfig(source=str(rows))
        prepared = prepare(data, load_tokenizer(model), 8_192, folder / "prepared")
        ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False)
        one, two, size = [], [], arguments.unit_tokens
        for number in range(arguments.rounds):
            one.append(measure(folder / f"one-{number}", prepared, model, 1, size))
            two.append(measure(folder / f"two-{number}", prepared, model, 2, size))
        killed = measure(folder / "killed", prepared, model, 2, size, kill=True)
        ray.shutdown()
    show(f"Random Llama, {arguments.rows:,} rows; {machine(torch.device('cpu'))}", HEADINGS, [
        _line("1", one), _line("2", two), _line("2, one killed", [killed])
    ])  # fmt: skip
    faster = ratios([run.busiest for run in one], [run.busiest for run in two])
    verdict = "met" if median(faster) >= BAR else "MISSED"
    print(f"two workers are {spread(faster)} times as fast by processor time; bar {BAR}: {verdict}")
    wall = ratios([run.wall for run in one], [run.wall for run in two])
    print(f"by wall-clock time {spread(wall)} times")
    digests = {run.digest for run in (*one, *two, killed)}
    print("all tables are the same bytes" if len(digests) == 1 else "TABLES DIFFER")


def _line(name: str, runs: list[Run]) -> list[str]:
    return [
        name,
        spread([run.wall for run in runs], 1),
        spread([run.busiest for run in runs], 1),
        spread([sum(run.workers) for run in runs], 1),
        str(runs[0].n_shards),
    ]


def _arguments() -> argparse.Namespace:
    made = parser(__doc__)
    made.add_argument("--rows", type=int, default=2_000)
    made.add_argument("--rounds", type=int, default=3)
    made.add_argument("--unit-tokens", type=int, help="of a unit; by the rows when absent")
    arguments = made.parse_args()
    if arguments.quick:
        arguments.rows, arguments.rounds = 600, 1
    return arguments


if __name__ == "__main__":
    main()
