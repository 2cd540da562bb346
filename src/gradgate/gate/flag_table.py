"""The table of flags: what the methods say of each row, beside its scores."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from gradgate.common import parquet
from gradgate.common.arrays import Marks
from gradgate.common.files import written_whole
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
    table = parquet.table(run.scores, REPEATED)
    scored = is_scored(table)
    for name, values in ((n, v) for one in said for n, v in one.found.signals.items()):
        column = pa.array(values, pa.float64(), from_pandas=True)
        table = table.append_column(pa.field(name, pa.float64()), column)
    questions = [one.question for one in said]
    columns = {
        flag_column(name, one.question, questions): values
        for one in said
        for name, values in _columns(one, scored).items()
    }
    columns |= {**_of_all(said, scored), "surplus_copy": pa.array(surplus, pa.bool_())}
    columns["approved"] = pa.nulls(len(scored), pa.string())  # for `gate.approved` to say
    for field in (*FLAG_FIELDS, *question_fields(questions)):
        table = table.append_column(field, columns[field.name])
    methods = ", ".join(one.method for one in said)
    facts = {**(table.schema.metadata or {}), b"gradgate.method": methods.encode()}
    with written_whole(run.flags) as part:
        pq.write_table(table.replace_schema_metadata(facts), part, compression="zstd")


def _columns(said: Said, scored: Marks) -> dict[str, pa.Array]:
    """What one method says; the marks of one that cannot decide are null."""
    found, n = said.found, len(scored)
    p_values = np.full(n, np.nan) if found.p_values is None else found.p_values
    known = scored & (found.flagged is not None)
    return {
        "suspicion": pa.array(found.suspicion, pa.float64(), from_pandas=True),
        "flagged": pa.array(said.flagged, pa.bool_(), mask=~known),
        "in_doubt": pa.array(found.in_doubt, pa.bool_(), mask=~scored),
        "p_value": pa.array(p_values, pa.float64(), from_pandas=True),
        "reasons": _texts([found.reasons.get(i, []) for i in range(n)]),
        "group": pa.array(found.group, pa.int32(), mask=found.group == 0),
        "groups": _groups(found),
    }


def _groups(found: Detection) -> pa.Array:
    """The numbers of all groups that hold each row, in order; null where none does."""
    held: list[list[int]] = [[] if one == 0 else [one] for one in found.group.tolist()]
    for number, members in sorted(found.members.items()):
        for i in np.flatnonzero(members).tolist():
            if number not in held[i]:
                held[i].append(number)
    return pa.array([sorted(one) or None for one in held], pa.list_(pa.int32()))


def _of_all(said: Sequence[Said], scored: Marks) -> dict[str, pa.Array]:
    """What all methods say together: a row that one leaves open is not known to be clear."""
    flagged = np.logical_or.reduce([one.flagged for one in said])
    doubted = np.logical_or.reduce([one.found.in_doubt for one in said])
    is_decided = all(one.found.flagged is not None for one in said)
    reasons = [
        [reason for one in said for reason in one.found.reasons.get(i, [])]
        for i in range(len(scored))
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
