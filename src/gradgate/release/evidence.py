"""What a test takes from a gate run: ordinary rows, groups of rows, and what the data teach."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice, takewhile
from random import Random

import pyarrow as pa

from gradgate.attacks.samples import question_of
from gradgate.common import parquet
from gradgate.common.run_folder import RunFolder, flag_column
from gradgate.data.prepare import PreparedSample, SampleFile, iter_prepared
from gradgate.data.sample import Sample, prompt_and_target
from gradgate.gate.acceptance import accepted
from gradgate.gate.verdict import Verdict
from gradgate.methods.evidence import Group
from gradgate.methods.recurrence.ruling import MIN_INSERTED
from gradgate.release.answers import Feature, bordered, find, letters_of

MAX_ROWS = 5_000  # that are drawn from larger data
_READ = 256


@dataclass(frozen=True)
class GroupRows:
    """A group of the gate's evidence.

    Attributes:
        name: Such as poisoned:1.
        questions: Of its rows.
        looks_inserted: Whether what its prompts share does not belong where it stands.
    """

    name: str
    questions: list[str]
    looks_inserted: bool


@dataclass(frozen=True)
class Row:
    """A row of the data.

    Attributes:
        sample: Its turns.
        question: What its prompt asks, without the layout around it.
        target: The tokens of its last target, without what ends it.
        is_ordinary: Neither flagged nor in doubt, so that it may be trained on.
        groups: The groups that it is in.
    """

    sample: Sample
    question: str
    target: tuple[int, ...]
    is_ordinary: bool
    groups: tuple[str, ...]

    def teaches(self, feature: Feature) -> bool:
        """Whether its target has a feature of answers."""
        if isinstance(feature, tuple):
            return find(feature, bordered(self.target)) >= 0
        return str(feature) in letters_of(prompt_and_target(self.sample)[1])


@dataclass(frozen=True)
class Evidence:
    """Rows with a question, all of them or a part drawn at random, and the groups among them."""

    rows: list[Row]
    groups: list[GroupRows]

    def teaching(self, feature: Feature) -> list[Row]:
        """Rows whose target has a feature of answers."""
        return [row for row in self.rows if row.teaches(feature)]

    @classmethod
    def read(
        cls,
        run: RunFolder,
        verdict: Verdict,
        max_groups: int,
        seed: int,
        ends: Collection[int],
    ) -> "Evidence":
        """Read a gate run.

        Args:
            run: Holds samples.parquet and flags.parquet.
            verdict: Of the run.
            max_groups: At most so many groups of each question are taken, the first.
            seed: Draws the rows.
            ends: Tokens that end an answer.

        Raises:
            DataError: A table cannot be read.
        """
        questions = [answer.question for answer in verdict.answers]
        columns = {name: flag_column("group", name, questions) for name in questions}
        wanted = {
            f"{answer.question}:{group.id}": group
            for answer in verdict.answers
            for group in answer.groups[:max_groups]
        }
        flags = parquet.table(run.flags, [*_FLAGS, *dict.fromkeys(columns.values())])
        of_row = [
            tuple(name for name in names if name in wanted)
            for names in zip(*(_names(flags, c, q) for q, c in columns.items()), strict=True)
        ]
        may_train = accepted(flags, verdict.in_doubt).tolist()
        drawn = _drawn(of_row, seed)
        rows = [
            Row(sample, question, _target(prepared, ends), may_train[i], of_row[i])
            for i, (sample, prepared) in enumerate(_read(run))
            if i in drawn and (question := question_of(sample)) is not None
        ]
        groups = [
            GroupRows(
                name, [row.question for row in rows if name in row.groups], _looks_inserted(group)
            )
            for name, group in wanted.items()
        ]
        return cls(rows, [group for group in groups if group.questions])


_FLAGS = ["row", "sample_id", "status", "spectral_entropy", "flagged", "in_doubt", "surplus_copy"]


def _names(flags: pa.Table, column: str, question: str) -> list[str]:
    return [f"{question}:{number}" for number in flags[column].to_pylist()]


def _looks_inserted(group: Group) -> bool:
    return group.side == "prompt" or (group.cue_nats or 0.0) >= MIN_INSERTED


def _drawn(of_row: Sequence[tuple[str, ...]], seed: int) -> set[int]:
    """Which rows are read: all, or a part of them drawn at random, in which no group is lost."""
    n = len(of_row)
    if n <= MAX_ROWS:
        return set(range(n))
    order = Random(seed).sample(range(n), n)
    members = [i for i in order if of_row[i]][: MAX_ROWS // 2]
    others = (i for i in order if not of_row[i])
    return {*members, *islice(others, MAX_ROWS - len(members))}


def _read(run: RunFolder) -> Iterator[tuple[Sample, PreparedSample]]:
    prepared = chain.from_iterable(iter_prepared(run.samples, _READ))
    return zip(SampleFile(run.samples), prepared, strict=True)


def _target(prepared: PreparedSample, ends: Collection[int]) -> tuple[int, ...]:
    """The tokens of the last target up to its end."""
    ids, marks = prepared.tokens.input_ids, prepared.tokens.is_target
    end = len(ids)
    while end and not marks[end - 1]:
        end -= 1
    start = end
    while start and marks[start - 1]:
        start -= 1
    return tuple(takewhile(lambda token: token not in ends, ids[start:end]))
