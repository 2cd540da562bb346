"""One run: what the gate makes of rows that are poisoned or not."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.others import Case, Outcome, decide
from benchmarks.unseen.datasets import Row
from gradgate.attacks.attack import Attack
from gradgate.attacks.poisoning import PoisonedRow, poison
from gradgate.config import AttackName
from gradgate.data.formats.mapping import detect_format
from gradgate.errors import DataError


@dataclass(frozen=True, slots=True)
class Cell:
    """A data set, clean or poisoned; `attack` is None and `rate` 0 for a clean one."""

    dataset: str
    attack: AttackName | None
    rate: float
    seed: int

    def __str__(self) -> str:
        """As the terminal and the report name it."""
        return f"{self.dataset}, {self.how}"

    @property
    def how(self) -> str:
        """The poison alone."""
        if self.attack is None:
            return f"clean, seed {self.seed}"
        return f"{self.attack} {self.rate:.1%}, seed {self.seed}"


@dataclass(frozen=True, slots=True)
class Run:
    """A cell that the gate has decided on; CBA's negatives count as honest rows."""

    cell: Cell
    outcome: Outcome

    @property
    def n_honest(self) -> int:
        """Rows that are not poisoned."""
        return self.outcome.n - self.outcome.n_poisoned

    @property
    def recall(self) -> float:
        """Flagged or quarantined part of the poisoned rows; there must be some."""
        return self.outcome.caught / self.outcome.n_poisoned

    @property
    def lost(self) -> float:
        """Flagged or quarantined part of the honest rows; there must be some."""
        return self.outcome.lost / self.n_honest


def measure(rows: Sequence[Row], cell: Cell, model: str) -> Run:
    """Poison the rows, unless the cell is clean, and let the gate decide.

    Args:
        rows: The honest ones.
        cell: What becomes of them.
        model: Folder or hub id.

    Raises:
        DataError: The attack cannot be carried out at this rate, or poisons not a single row.
    """
    prepared = _prepared(rows, cell)
    is_poisoned = np.array([row.role == "poisoned" for row in prepared], bool)
    case = Case(str(cell), [dict(row.row) for row in prepared], is_poisoned)
    return Run(cell, decide(case, model))


def _prepared(rows: Sequence[Row], cell: Cell) -> list[PoisonedRow]:
    """The rows and the truth about them; errors as for `measure`."""
    if cell.attack is None:
        return [PoisonedRow(dict(row), i, "clean") for i, row in enumerate(rows)]
    if round(cell.rate * len(rows)) == 0:
        raise DataError(f"{cell.rate:.1%} of {len(rows)} rows is not a single one")
    mapping = detect_format(rows[0])
    return poison(rows, mapping, Attack(cell.attack), cell.rate, cell.seed)
