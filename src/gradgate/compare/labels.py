"""The truth about rows: read from a column, which is taken out before anything is made of a row."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from gradgate.common.arrays import Ints, Marks
from gradgate.data.rows.row import RawRow
from gradgate.errors import DataError
from gradgate.methods.contract import Question

DEFAULT_COLUMNS: tuple[Question, ...] = ("poisoned", "harmful")
_UNKNOWN = 2
# Tables have booleans or integers, CSV has text.
_MEANINGS = {"true": 1, "1": 1, "1.0": 1, "false": 0, "0": 0, "0.0": 0}


@dataclass(frozen=True)
class Labels:
    """Labels of the rows of a source, a byte each.

    Attributes:
        columns: By the name of the column, and in it by row number: 1 is positive, 0 negative,
            2 not known because the row cannot be read.
    """

    columns: dict[str, bytearray] = field(default_factory=dict)

    def column_for(self, question: Question) -> str | None:
        """The column that an answer is held against: its own, or else the only one there is."""
        if question in self.columns or not self.columns:
            return question if self.columns else None
        return next(iter(self.columns))

    def of(self, column: str, rows: Ints) -> Marks:
        """Which of the rows, by their numbers, are positive: shape (n,).

        Raises:
            DataError: A row has no label.
        """
        found = np.frombuffer(self.columns[column], np.uint8)[rows]
        if (found == _UNKNOWN).any():
            raise DataError(f"row {rows[found == _UNKNOWN][0]} has no label in column {column!r}")
        return found == 1


class LabelledRows:
    """Rows without their labels, which are kept in `labels`; to be gone through once.

    The first row that can be read says which columns are labels.
    """

    def __init__(self, rows: Iterable[RawRow], wanted: str | None) -> None:
        """Take the rows of a source; `wanted` is the column, None for those of the usual names."""
        self.labels = Labels()
        self._rows = rows
        self._wanted = wanted

    def __iter__(self) -> Iterator[RawRow]:
        """The rows as they are without labels.

        Raises:
            DataError: A column that is named is not there, or holds no truth value.
        """
        is_known = False
        for row in self._rows:
            if row.value is None:
                yield row
                continue
            if not is_known:
                names, is_known = self._names(row.value), True
                self.labels.columns.update((name, bytearray()) for name in names)
            yield self._without_labels(row, row.value)

    def _names(self, value: Mapping[str, object]) -> list[str]:
        if self._wanted is None:
            return [name for name in DEFAULT_COLUMNS if _meaning(value.get(name)) is not None]
        if self._wanted not in value:
            raise DataError(
                f"there is no column {self._wanted!r} for the labels; the columns found are "
                f"{', '.join(value) or 'none'}"
            )
        return [self._wanted]

    def _without_labels(self, row: RawRow, value: Mapping[str, object]) -> RawRow:
        for name, known in self.labels.columns.items():
            meaning = _meaning(value.get(name))
            if meaning is None:
                raise DataError(
                    f"row {row.row}: column {name!r} holds {value.get(name)!r:.80}, and a label is "
                    "true or false, 1 or 0; mend it, or name another column by compare.labels"
                )
            known.extend([_UNKNOWN] * (row.row - len(known)))
            known.append(meaning)
        names = self.labels.columns
        rest = {name: one for name, one in value.items() if name not in names}
        return RawRow(row.row, rest, row.raw if len(rest) == len(value) else "")


def _meaning(value: object) -> int | None:
    return _MEANINGS.get(str(value).strip().lower())
