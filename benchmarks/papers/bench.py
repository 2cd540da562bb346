"""What all cells have in common: the model, the settings, and the gate on a folder of rows."""

import json
import time
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import get_args

import numpy as np

from benchmarks.matrix.cells import digest_of
from benchmarks.matrix.methods import auroc
from benchmarks.papers.cells import Cell, Training
from benchmarks.papers.results import Counted, Result
from gradgate.common import parquet
from gradgate.common.arrays import Floats, Marks
from gradgate.common.run_folder import RunFolder
from gradgate.config import DataConfig, FinetuneConfig, ModelConfig
from gradgate.gate.config import GateConfig
from gradgate.gate.pipeline import run_gate
from gradgate.methods.gradsentry.config import UnreliableState
from gradgate.methods.registry import method_names
from gradgate.models.handle import ConfiguredModel
from gradgate.models.identity import IdentifiedModel, identify_model

_SOURCES = ("benchmarks/papers/*.py", "src/gradgate/**/*.py", "constraints.txt")
_PUBLISHED = {
    "threshold": {"bootstrap": 0},
    "without_valley": dict.fromkeys(get_args(UnreliableState), "published_constant"),
}


@dataclass(frozen=True)
class Flags:
    """What a gate run says of n rows; all of shape (n,). A row that is no sample is not flagged.

    Attributes:
        kept_out: Flagged or quarantined.
        suspicion: NaN where nothing is said of a row.
    """

    flagged: Marks
    kept_out: Marks
    suspicion: Floats
    verdict: str
    seconds: float


@dataclass(frozen=True)
class Bench:
    """Model, settings and folders.

    Attributes:
        shared: Folder with the datasets.
        work: Folder for what is written meanwhile.
        test_rows: Rows that are held back for questions.
    """

    shared: Path
    work: Path
    model: ModelConfig
    identified: IdentifiedModel
    tunings: Mapping[Training, FinetuneConfig]
    test_rows: int
    version: str

    @classmethod
    def open(
        cls,
        shared: Path,
        work: Path,
        model: ModelConfig,
        tunings: Mapping[Training, FinetuneConfig],
        test_rows: int,
    ) -> "Bench":
        """Find the model; it is loaded where it is needed."""
        found = identify_model(model)
        version = digest_of(_SOURCES)
        return cls(shared, work, model, found, tunings, test_rows, version)

    @property
    def handle(self) -> ConfiguredModel:
        """For tokenizer and limit."""
        return ConfiguredModel(self.model)

    @property
    def name(self) -> str:
        """Of the model, with the beginning of its digest."""
        return f"{Path(self.model.path).name} {str(self.identified.identity['sha256'])[:8]}"

    def settings(self, training: Training) -> str:
        """The training settings in words."""
        if training == "none":
            return ""
        tuning = self.tunings[training]
        rank = f"r {tuning.r}, alpha {tuning.alpha}, " if training == "lora" else ""
        return (
            f"{rank}{tuning.epochs:g} epochs, learning rate {tuning.learning_rate:g}, "
            f"batch {tuning.batch_size}"
        )

    def line(self, cell: Cell, **found: object) -> Result:
        """A result of this model and version."""
        return Result(cell, self.name, self.settings(cell.training), self.version, **found)  # type: ignore[arg-type]

    def folder(self) -> AbstractContextManager[str]:
        """A folder that vanishes."""
        return TemporaryDirectory(dir=self.work)

    def judge(self, source: Path, method: str, run: RunFolder) -> Flags:
        """Let the gate judge a file by one method.

        Raises:
            GradgateError: A step broke, or there is no such method.
        """
        started = time.perf_counter()
        verdict = run_gate(self._gate(source, method), run)
        seconds = time.perf_counter() - started
        columns = ["row", "flagged", "in_doubt", "suspicion"]
        table = parquet.table(run.flags, columns).to_pydict()
        with source.open(encoding="utf-8") as file:
            n = sum(1 for _ in file)
        flagged, in_doubt, suspicion = np.zeros(n, bool), np.zeros(n, bool), np.full(n, np.nan)
        flagged[table["row"]] = [mark is True for mark in table["flagged"]]
        in_doubt[table["row"]] = [mark is True for mark in table["in_doubt"]]
        suspicion[table["row"]] = [np.nan if s is None else s for s in table["suspicion"]]
        return Flags(flagged, flagged | in_doubt, suspicion, verdict.decision, seconds)

    def _gate(self, source: Path, method: str) -> GateConfig:
        content = {
            "data": {"source": str(source), "max_rejected_fraction": 1.0},
            "model": self.model.model_dump(),
            "scoring": {"store_max_mib": None},
            "detection": {"method": method, "gradsentry": _PUBLISHED, "power": {"attacks": []}},
            "policy": {"max_copies": None},
        }
        return GateConfig.model_validate(content)

    def data(self, source: Path) -> DataConfig:
        """The configuration of a file of rows."""
        return DataConfig(source=str(source))


def is_known(method: str) -> bool:
    """Whether gradgate has such a method, in this version."""
    return method in method_names()


def counts(flags: Flags, guilty: Marks) -> dict[str, object]:
    """Flags held against the truth; both of shape (n,)."""
    n_guilty, n_honest = int(guilty.sum()), int((~guilty).sum())
    known = ~np.isnan(flags.suspicion)
    both = bool(guilty[known].any() and (~guilty[known]).any())
    return {
        "caught": Counted(int((flags.kept_out & guilty).sum()), n_guilty),
        "flagged": Counted(int((flags.flagged & ~guilty).sum()), n_honest),
        "lost": Counted(int((flags.kept_out & ~guilty).sum()), n_honest),
        "auroc": auroc(flags.suspicion[known], guilty[known]) if both else None,
        "verdict": flags.verdict,
        "seconds": round(flags.seconds, 2),
    }


def write_rows(path: Path, rows: Iterable[Mapping[str, object]]) -> Path:
    """Write JSON lines."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path
