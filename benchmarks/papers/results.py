"""The finished cells, one JSON line for each cell and model."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from benchmarks.lines import add_line, read_lines
from benchmarks.papers.cells import Cell

_CELL = tuple(field.name for field in fields(Cell))


@dataclass(frozen=True, slots=True)
class Counted:
    """k of n."""

    k: int
    n: int

    @property
    def rate(self) -> float | None:
        """None of nothing is no rate."""
        return self.k / self.n if self.n else None


@dataclass(frozen=True, slots=True)
class Result:
    """What came out of a cell.

    Attributes:
        model: Name and digest.
        settings: The training settings in words; "" without a training.
        version: Digest of the sources that decided it.
        caught: Of the poisoned or harmful rows, those flagged or quarantined.
        flagged: Of the honest rows, those flagged.
        lost: Of the honest rows, those flagged or quarantined.
        auroc: Of the method's score; None where there are not both kinds of rows.
        verdict: The gate's.
        success: Attacks that succeed (ASR): the target is given, or the harm is not refused.
        right: Clean questions that are answered right (CACC, EMR).
        loss: On held-out benign rows, in nats a token.
        trained_on: Rows that were trained on.
        train_loss: In nats.
        seconds: Of detection, or of training and asking.
        skipped: Why there is no such cell.
    """

    cell: Cell
    model: str
    settings: str
    version: str
    caught: Counted = Counted(0, 0)
    flagged: Counted = Counted(0, 0)
    lost: Counted = Counted(0, 0)
    auroc: float | None = None
    verdict: str | None = None
    success: Counted = Counted(0, 0)
    right: Counted = Counted(0, 0)
    loss: float | None = None
    trained_on: int | None = None
    train_loss: float | None = None
    seconds: float = 0.0
    skipped: str | None = None

    @property
    def f1(self) -> float | None:
        """Of what is flagged or quarantined; None without poison."""
        total = self.caught.k + self.lost.k + self.caught.n
        return 2 * self.caught.k / total if self.caught.n else None

    def to_line(self) -> dict[str, Any]:
        """Flat, so that the file can be read by other tools."""
        content = asdict(self)
        return {**content.pop("cell"), **content}

    @classmethod
    def from_line(cls, line: dict[str, Any]) -> "Result":
        """What `to_line` wrote."""
        rest = {key: value for key, value in line.items() if key not in _CELL}
        counted = {key: Counted(**v) for key, v in rest.items() if isinstance(v, dict)}
        return cls(Cell(**{key: line[key] for key in _CELL}), **{**rest, **counted})


class Results:
    """The lines of a file; what is added is in the file when `add` returns.

    Later lines of the same cell, model and settings take the place of earlier ones. A line of an
    older version of the code stays: the tables grow over weeks, and the report counts them.
    """

    def __init__(self, path: Path) -> None:
        """Read what is there."""
        self._path = path
        self._lines: dict[tuple[Cell, str, str], Result] = {}
        for line in read_lines(path):
            self._keep(Result.from_line(line))

    def has(self, cell: Cell, model: str, settings: str) -> bool:
        """Whether this need not be computed."""
        return (cell, model, settings) in self._lines

    def add(self, result: Result) -> None:
        """Write a line."""
        add_line(self._path, result.to_line())
        self._keep(result)

    def all(self) -> Sequence[Result]:
        """In the order in which they were first made."""
        return list(self._lines.values())

    def _keep(self, result: Result) -> None:
        self._lines[(result.cell, result.model, result.settings)] = result
