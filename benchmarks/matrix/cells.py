"""What there is to compute: cells, in the order that lets the score store do most of the work."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.matrix.datasets import DATASETS, Dataset
from gradgate.config import AttackName

ROOT = Path(__file__).resolve().parents[2]
CLASSIC: tuple[AttackName, ...] = (
    *("badnets", "addsent", "cba", "stylebkd", "replaced", "refusal", "long"),
    *("paraphrased", "clean_label", "adaptive"),
)
EVASIONS: tuple[AttackName, ...] = (
    *("title_case", "existing_label", "leaked", "no_trigger"),
    *("many_words", "wrong_answer", "copies", "combo"),
)
"""One attack for each way to hide from a detector of words that go together."""
RATES = (0.005, 0.01, 0.05, 0.1, 0.5, 0.9)
SEEDS = (0, 1, 2)
CLEAN_SEEDS = (0, 1, 2, 3, 4)  # 20 clean runs over four datasets
CLEAN_SHARE = 0.8  # of the rows of a file, in the clean runs after the first

DATA_SOURCES = (
    "benchmarks/matrix/datasets.py",
    "benchmarks/matrix/descriptions.py",
    "benchmarks/matrix/run.py",
    "constraints.txt",  # what is mined depends on the packages that are installed
    "demo/apis.py",
    "demo/questions.py",
    "demo/sources.py",
    "src/gradgate/attacks/*.py",
    "src/gradgate/data/**/*.py",
    "src/gradgate/scoring/**/*.py",
    "src/gradgate/gradients/*.py",
    "src/gradgate/gradients/prefix_tree/*.py",
)
"""The files that decide which rows a method sees and what their scores are."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One poisoned dataset; `attack` is None and `rate` 0 for a clean one."""

    dataset: Dataset
    attack: AttackName | None
    rate: float
    seed: int
    limit: int | None = None

    def __str__(self) -> str:
        """As the progress bar and the log name it."""
        return f"{self.dataset} {self.attack or 'clean'} {self.rate:.1%} seed {self.seed}"


def plan(
    datasets: Sequence[Dataset] = DATASETS,
    attacks: Sequence[AttackName] = (*CLASSIC, *EVASIONS),
    rates: Sequence[float] = (0.0, *RATES),
    seeds: Sequence[int] = SEEDS,
    limit: int | None = None,
) -> Iterator[Cell]:
    """All cells, dataset by dataset.

    Clean data come first and then the highest rate of each attack: the rows of every other rate
    are among those of the two, so that the model is loaded for these only. A clean dataset is the
    same for all attacks and is one cell. When all seeds are asked for, there are more clean runs
    than seeds.
    """
    clean_seeds = CLEAN_SEEDS if tuple(seeds) == SEEDS else seeds
    descending = sorted((rate for rate in rates if rate > 0), reverse=True)
    for dataset in datasets:
        if 0.0 in rates:
            yield from (Cell(dataset, None, 0.0, seed, limit) for seed in clean_seeds)
        for seed in seeds:
            for attack in attacks:
                yield from (Cell(dataset, attack, rate, seed, limit) for rate in descending)


def digest_of(patterns: Iterable[str], *facts: str) -> str:
    """Digest of the files, named from the root of the repository, and of other facts."""
    digest = hashlib.sha256()
    for path in sorted({path for pattern in patterns for path in ROOT.glob(pattern)}):
        digest.update(path.relative_to(ROOT).as_posix().encode())
        digest.update(path.read_bytes())
    for fact in facts:
        digest.update(b"\0" + fact.encode())
    return digest.hexdigest()[:12]
