"""Rows that are kept out as people decide on them: with their text, by group, a few of each."""

import math
from bisect import insort
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from pyarrow import compute as pc

from gradgate.common import parquet
from gradgate.common.arrays import Ints
from gradgate.common.run_folder import RunFolder
from gradgate.gate.quarantine import COPY, DROPPED, IN_DOUBT
from gradgate.gate.ranges import Range, as_said, extend
from gradgate.gate.verdict import Verdict

MAX_PILES, MAX_ROWS = 7, 5  # shown, and rows of each
_MAX_RANGES = 30
_COLUMNS = ["row", "questions", "group", "suspicion"]
_WHY = "why"  # a column of quarantined.parquet alone
FLAGGED = "flagged"  # why, of a row in the other table
_SINCE = ("new", "flagged")  # changes that bring a row here
_BATCH_ROWS = 4096


@dataclass(frozen=True)
class DoubtfulRow:
    """A row that is kept out.

    Attributes:
        row: Number in the source.
        prompt: Text, whole.
        target: Text, whole.
        reasons: Why, in words, those of its group among them; none where it is an example.
        is_new: It was not there, or neither flagged nor in doubt, in the run before.
    """

    row: int
    prompt: str
    target: str
    reasons: list[str]
    is_new: bool


@dataclass(frozen=True)
class Pile:
    """Rows that are decided on together.

    Attributes:
        question: The first by which they are out; None for surplus copies alone.
        group: `Group.id` in the answer to it; None for rows without a group, and for copies.
        why: `in doubt`, `copy` or `flagged`.
        n: How many.
        n_new: Those of them that are new since the last run.
        table: Name of the file that has all of them.
        rows: All their numbers, such as `3,17-20`; None where that would be too long.
        shown: Some of them: new ones first, then the most suspicious.
        is_part: Whether the group has rows in another pile, as some are flagged and others not.
    """

    question: str | None
    group: int | None
    why: str
    n: int
    n_new: int
    table: str
    rows: str | None
    shown: list[DoubtfulRow]
    is_part: bool = False

    @property
    def place(self) -> tuple[str | None, int | None]:
        """The group among those of all answers."""
        return (self.question, self.group)

    @property
    def chosen(self) -> list[str]:
        """The options that choose these rows, or where they are too many those that are shown."""
        if self.group is not None and not self.is_part:
            return ["--group", f"{self.question}:{self.group}"]
        shown = ",".join(str(row) for row in sorted(row.row for row in self.shown))
        return ["--rows", self.rows or shown]

    @property
    def is_whole(self) -> bool:
        """Whether `chosen` chooses all of them."""
        return (self.group is not None and not self.is_part) or self.rows is not None


@dataclass
class _Tally:
    """What is known of a pile before the texts are read."""

    n: int = 0
    n_new: int = 0
    top: list[tuple[bool, float, int]] = field(default_factory=list)
    ranges: list[Range] = field(default_factory=list)

    def add(self, row: int, is_new: bool, suspicion: float | None) -> None:
        self.n += 1
        self.n_new += is_new
        is_known = suspicion is not None and math.isfinite(suspicion)
        insort(self.top, (not is_new, -(suspicion or 0.0) if is_known else math.inf, row))
        del self.top[MAX_ROWS:]
        if len(self.ranges) <= _MAX_RANGES:
            extend(self.ranges, row)

    @property
    def rows(self) -> str | None:
        return as_said(self.ranges) if len(self.ranges) <= _MAX_RANGES else None


_Key = tuple[str | None, int | None, str]
_Place = tuple[str | None, int | None]


def in_doubt(run: RunFolder, verdict: Verdict) -> list[Pile]:
    """The rows in doubt by group, in the order of the verdict; copies last.

    Memory does not depend on how many they are.

    Args:
        run: Holds the tables, and changes.parquet where it was compared.
        verdict: On it.

    Raises:
        DataError: A table cannot be read.
    """
    kept = _kept(run, verdict) if verdict.in_doubt == "keep" else []
    return [*kept, *_piles(run, run.quarantined, [*_COLUMNS, _WHY], verdict)]


def _kept(run: RunFolder, verdict: Verdict) -> list[Pile]:
    """Groups in doubt whose rows the policy keeps, so that no table has their texts: examples."""
    return [
        Pile(
            answer.question,
            group.id,
            why=IN_DOUBT,
            n=group.n_rows,
            n_new=0,
            table=run.flags.name,
            rows=None,
            shown=[
                DoubtfulRow(one.row, one.prompt, one.target, [], is_new=False)
                for one in group.examples[:MAX_ROWS]
            ],
        )
        for answer in verdict.answers
        for group in answer.groups
        if group.ruling == "review"
    ]


def flagged(run: RunFolder, verdict: Verdict) -> list[Pile]:
    """The rows of flagged.parquet; as `in_doubt`."""
    return _piles(run, run.flagged, _COLUMNS, verdict)


def _piles(run: RunFolder, path: Path, columns: list[str], verdict: Verdict) -> list[Pile]:
    if not run.flags.exists():  # the rows were not judged
        return []
    new = _new_rows(run)
    found: dict[_Key, _Tally] = {}
    for batch in parquet.batches(path, columns, _BATCH_ROWS):
        are_new = np.isin(batch["row"].to_numpy(), new).tolist()
        for line, is_new in zip(batch.to_pylist(), are_new, strict=True):
            if line.get(_WHY) == DROPPED:  # somebody has decided on it
                continue
            found.setdefault(_key(line), _Tally()).add(line["row"], is_new, line["suspicion"])
    keys, elsewhere = sorted(found, key=_order(verdict)), _elsewhere(run, path)
    texts = _texts(path, [row for key in keys[:MAX_PILES] for _, _, row in found[key].top])
    return [
        Pile(
            *key,
            n=found[key].n,
            n_new=found[key].n_new,
            table=path.name,
            rows=found[key].rows,
            shown=[
                DoubtfulRow(row, *texts[row], is_new=not is_old)
                for is_old, _, row in found[key].top
                if row in texts
            ],
            is_part=key[:2] in elsewhere,
        )
        for key in keys
    ]


def _elsewhere(run: RunFolder, path: Path) -> set[_Place]:
    """The places of the rows that stand in the other table, where it is there."""
    is_flagged = path == run.flagged
    other = run.quarantined if is_flagged else run.flagged
    columns = ["questions", "group", *([_WHY] if is_flagged else [])]
    lines = (
        line
        for batch in (parquet.batches(other, columns, _BATCH_ROWS) if other.exists() else ())
        for line in batch.to_pylist()
    )
    return {_key(line)[:2] for line in lines if line.get(_WHY) != DROPPED}


def _texts(path: Path, rows: list[int]) -> dict[int, tuple[str, str, list[str]]]:
    """Prompt, target and reasons of some rows."""
    lines = parquet.table(path, filters=pc.field("row").isin(rows)).to_pylist()
    return {line["row"]: (line["prompt"], line["target"], line["reasons"]) for line in lines}


def _key(line: dict[str, Any]) -> _Key:
    why = line.get(_WHY, FLAGGED)
    if why == COPY:
        return (None, None, COPY)
    return (line["questions"][0] if line["questions"] else None, line["group"], why)


def _order(verdict: Verdict) -> Any:
    """The order of the groups in the verdict; then rows without a group, then copies."""
    places = [(answer.question, group.id) for answer in verdict.answers for group in answer.groups]
    order = {place: i for i, place in enumerate(places)}
    return lambda key: (key[2] == COPY, order.get(key[:2], len(order)), str(key))


def _new_rows(run: RunFolder) -> Ints:
    """Rows that are new, or newly in doubt or flagged, since the last run: (k,)."""
    if not run.changes.exists():
        return np.empty(0, np.int64)
    lines = parquet.table(run.changes, ["row"], filters=pc.field("change").isin(_SINCE))
    rows: Ints = lines["row"].to_numpy()
    return rows


def n_rows(found: Sequence[Pile]) -> int:
    """How many rows there are in some piles."""
    return sum(pile.n for pile in found)
