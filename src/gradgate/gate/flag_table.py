"""The table of flags: what the methods say of each row, beside its scores."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from gradgate.common import parquet
from gradgate.common.arrays import Ints, Marks, distinct
from gradgate.common.files import written_whole
from gradgate.common.parquet import data_errors
from gradgate.common.run_folder import (
    FLAG_FIELDS,
    REPEATED,
    RunFolder,
    flag_column,
    is_scored,
    question_fields,
)
from gradgate.errors import DataError
from gradgate.gate.quarantine import is_open
from gradgate.methods.contract import Detection, Question

_BATCH_ROWS = 65_536


@dataclass(frozen=True, eq=False)
class Said:
    """What a method says of each row."""

    question: Question
    method: str
    found: Detection

    @property
    def flagged(self) -> Marks:
        """Which rows are known to be flagged: (n,)."""
        nothing = np.zeros(len(self.found.in_doubt), bool)
        return nothing if self.found.flagged is None else self.found.flagged


@dataclass(frozen=True)
class Marked:
    """How many rows of the table of flags are marked for a question, and nobody has decided on.

    Attributes:
        n_flagged: 0 where the method could not decide.
        n_in_doubt: Not flagged by the same method.
    """

    n_flagged: int
    n_in_doubt: int


def write_flags(run: RunFolder, said: Sequence[Said], surplus: Marks) -> None:
    """Write flags.parquet: the score table with what the methods say of each row.

    Args:
        run: Holds scores.parquet.
        said: By each method; at least one, and one for a question.
        surplus: Which rows are surplus copies. (n,)
    """
    signals = {name: values for one in said for name, values in one.found.signals.items()}
    fields = [*FLAG_FIELDS, *question_fields([one.question for one in said])]
    with data_errors(run.scores):
        scores = pq.read_schema(run.scores)
    methods = ", ".join(one.method for one in said)
    schema = pa.schema(
        [
            *(scores.field(name) for name in REPEATED),
            *(pa.field(name, pa.float64()) for name in signals),
            *fields,
        ],
        {**(scores.metadata or {}), b"gradgate.method": methods.encode()},
    )
    held = {one.question: _Held.of(one.found) for one in said}
    first = 0
    with (
        written_whole(run.flags) as part,
        pq.ParquetWriter(part, schema, compression="zstd") as writer,
    ):
        for batch in parquet.batches(run.scores, REPEATED, _BATCH_ROWS):
            place = slice(first, first + batch.num_rows)
            columns = _said(said, held, place, is_scored(batch))
            columns["surplus_copy"] = pa.array(surplus[place], pa.bool_())
            columns["approved"] = pa.nulls(batch.num_rows, pa.string())  # for `gate.approved`
            own = [pa.array(v[place], pa.float64(), from_pandas=True) for v in signals.values()]
            arrays = [*batch.columns, *own, *(columns[field.name] for field in fields)]
            writer.write_table(pa.Table.from_arrays(arrays, schema=schema))
            first = place.stop


def _said(
    said: Sequence[Said], held: Mapping[Question, "_Held"], place: slice, scored: Marks
) -> dict[str, pa.Array]:
    """What the methods say of some rows, each alone and all together."""
    questions = [one.question for one in said]
    alone = {
        flag_column(name, one.question, questions): values
        for one in said
        for name, values in _columns(one, held[one.question], place, scored).items()
    }
    return {**alone, **_of_all(said, place, scored)}


def _columns(said: Said, held: "_Held", place: slice, scored: Marks) -> dict[str, pa.Array]:
    """What one method says of some rows; the marks of one that cannot decide are null."""
    found, n, group = said.found, len(scored), said.found.group[place]
    p_values = np.full(n, np.nan) if found.p_values is None else found.p_values[place]
    known = scored & (found.flagged is not None)
    return {
        "suspicion": pa.array(found.suspicion[place], pa.float64(), from_pandas=True),
        "flagged": pa.array(said.flagged[place], pa.bool_(), mask=~known),
        "in_doubt": pa.array(found.in_doubt[place], pa.bool_(), mask=~scored),
        "p_value": pa.array(p_values, pa.float64(), from_pandas=True),
        "reasons": _texts([found.reasons.get(i, []) for i in range(place.start, place.stop)]),
        "group": pa.array(group, pa.int32(), mask=group == 0),
        "groups": held.among(place),
    }


@dataclass(frozen=True, eq=False)
class _Held:
    """Which groups hold which rows, by rows and then by the groups' numbers.

    Attributes:
        rows: Positions, rising. (k,)
        groups: The number of a group of each. (k,)
    """

    rows: Ints
    groups: Ints

    @classmethod
    def of(cls, found: Detection) -> Self:
        """Of all groups of a detection, and of each row's own."""
        own = np.flatnonzero(found.group)
        rows, groups = [own], [found.group[own]]
        for number, members in found.members.items():
            there = np.flatnonzero(members)
            rows.append(there)
            groups.append(np.full(len(there), number, np.int64))
        size = int(found.group.max(initial=0)) + 1 + max(found.members, default=0)
        held = distinct(np.concatenate(rows) * size + np.concatenate(groups))
        return cls(*np.divmod(held, size))

    def among(self, place: slice) -> pa.Array:
        """The numbers of all groups that hold each of some rows; null where none does."""
        ends = np.searchsorted(self.rows, np.arange(place.start, place.stop + 1))
        offsets = pa.array(ends - ends[0], pa.int32())
        numbers = pa.array(self.groups[ends[0] : ends[-1]], pa.int32())
        nothing = pa.array(np.diff(ends) == 0)
        return pa.ListArray.from_arrays(offsets, numbers, mask=nothing)


def _of_all(said: Sequence[Said], place: slice, scored: Marks) -> dict[str, pa.Array]:
    """What all methods say together: a row that one leaves open is not known to be clear."""
    flagged = np.logical_or.reduce([one.flagged[place] for one in said])
    doubted = np.logical_or.reduce([one.found.in_doubt[place] for one in said])
    is_decided = all(one.found.flagged is not None for one in said)
    reasons = [
        [reason for one in said for reason in one.found.reasons.get(i, [])]
        for i in range(place.start, place.stop)
    ]
    return {
        "flagged": pa.array(flagged, pa.bool_(), mask=~(scored & (is_decided | flagged))),
        "in_doubt": pa.array(doubted & ~flagged, pa.bool_(), mask=~scored),
        "reasons": _texts(reasons),
    }


def _texts(lines: list[list[str]]) -> pa.Array:
    return pa.array(lines, pa.list_(pa.string()))


def count_marked(run: RunFolder, questions: Sequence[Question]) -> dict[Question, Marked]:
    """Count what is marked for each question, by the table as it is now.

    Raises:
        DataError: The table cannot be read, or what it marks is not what it marks for the
            questions.
    """
    counts = dict.fromkeys(questions, Marked(0, 0))
    for batch in _marks(run, questions):
        for question in questions:
            undecided = pa.array(is_open(batch))
            flagged, doubted = (
                pc.and_kleene(column, undecided) for column in _pair(batch, question, questions)
            )
            known = counts[question]
            counts[question] = Marked(
                known.n_flagged + (pc.sum(flagged).as_py() or 0),
                known.n_in_doubt + (pc.sum(doubted).as_py() or 0),
            )
        _require_union(run, batch, questions)
    return counts


def _marks(run: RunFolder, questions: Sequence[Question]) -> Iterator[pa.RecordBatch]:
    columns = [flag_column(n, q, questions) for q in questions for n in ("flagged", "in_doubt")]
    names = dict.fromkeys(["flagged", "in_doubt", "approved", *columns])
    return parquet.batches(run.flags, list(names), _BATCH_ROWS)


def _pair(
    batch: pa.RecordBatch, question: Question, questions: Sequence[Question]
) -> tuple[pa.Array, pa.Array]:
    """What is flagged and what is in doubt for a question."""
    flagged, doubted = (flag_column(n, question, questions) for n in ("flagged", "in_doubt"))
    return batch[flagged], batch[doubted]


def _require_union(run: RunFolder, batch: pa.RecordBatch, questions: Sequence[Question]) -> None:
    pairs = [_pair(batch, question, questions) for question in questions]
    flagged = reduce(pc.or_kleene, [pair[0] for pair in pairs])
    doubted = reduce(pc.or_kleene, [pair[1] for pair in pairs])
    doubted = pc.and_kleene(doubted, pc.invert(pc.fill_null(flagged, False)))
    if not (batch["flagged"].equals(flagged) and batch["in_doubt"].equals(doubted)):
        raise DataError(
            f"{run.flags} marks other rows than it does for {' and '.join(questions)}; run again"
        )
