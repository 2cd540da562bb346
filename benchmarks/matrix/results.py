"""The finished cells, one JSON line for each cell and method; a torn last line is dropped."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeAlias

from benchmarks.lines import add_line, read_lines
from benchmarks.matrix.cells import Cell
from benchmarks.matrix.datasets import Dataset
from gradgate.config import AttackName
from gradgate.gate.verdict import Decision

Key: TypeAlias = tuple[Cell, str, str]


@dataclass(frozen=True, slots=True)
class Result:
    """What a method made of a cell.

    Attributes:
        version: Digest of all that the line depends on.
        n_honest: Rows that are not poisoned; CBA's negatives are among them.
        caught: Poisoned rows that were flagged or quarantined.
        false_alarms: Honest rows that were flagged.
        lost: Honest rows that were flagged or quarantined.
        negatives_flagged: Those of them that are CBA's negatives.
        n_rejected: Rows that could not be scored; they have no part in the counts.
        auroc: Of the method's score, when it has one and there are poisoned and honest rows.
        oracle: Recall of that score with the best threshold at 1 % false alarms.
        seconds: Of the method alone, without reading and scoring the rows.
        skipped: Why there is no such cell; everything else is then 0 or None.
    """

    dataset: Dataset
    attack: AttackName | None
    rate: float
    seed: int
    limit: int | None
    method: str
    version: str
    n_poisoned: int = 0
    n_honest: int = 0
    caught: int = 0
    false_alarms: int = 0
    lost: int = 0
    n_negatives: int = 0
    negatives_flagged: int = 0
    n_rejected: int = 0
    verdict: Decision | None = None
    reasons: tuple[str, ...] = ()
    auroc: float | None = None
    oracle: float | None = None
    seconds: float = 0.0
    skipped: str | None = None

    @property
    def cell(self) -> Cell:
        """Which poisoned dataset."""
        return Cell(self.dataset, self.attack, self.rate, self.seed, self.limit)

    @property
    def recall(self) -> float:
        """Flagged or quarantined part of the poisoned rows; there must be some."""
        return self.caught / self.n_poisoned

    @property
    def false_positive_rate(self) -> float:
        """Flagged part of the honest rows; 0 when there are none."""
        return self.false_alarms / self.n_honest if self.n_honest else 0.0

    @property
    def lost_rate(self) -> float:
        """Flagged or quarantined part of the honest rows; 0 when there are none."""
        return self.lost / self.n_honest if self.n_honest else 0.0

    @property
    def trained(self) -> int:
        """Poisoned rows that a training sees: none unless the verdict is pass."""
        return self.n_poisoned - self.caught if self.verdict == "pass" else 0

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall; 0 when no poisoned row is caught."""
        return 2 * self.caught / (self.caught + self.lost + self.n_poisoned)


class Results:
    """The lines of a file; what is added is on the disk when `add` returns."""

    def __init__(self, path: Path) -> None:
        """Read what is there."""
        self._path = path
        self._lines: dict[Key, Result] = {}
        for content in read_lines(path):
            self._keep(Result(**{**content, "reasons": tuple(content["reasons"])}))

    def has(self, cell: Cell, method: str, version: str) -> bool:
        """Whether this need not be computed."""
        return (cell, method, version) in self._lines

    def add(self, result: Result) -> None:
        """Write a line."""
        add_line(self._path, asdict(result))
        self._keep(result)

    def of(self, versions: Mapping[str, str], limit: int | None) -> list[Result]:
        """The lines of these versions of the methods."""
        wanted = versions.items()
        return [
            result
            for result in self._lines.values()
            if (result.method, result.version) in wanted and result.limit == limit
        ]

    def _keep(self, result: Result) -> None:
        self._lines[(result.cell, result.method, result.version)] = result
