"""Let the methods judge a scored data set, and keep what they say."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gradgate.common import parquet
from gradgate.common.arrays import Marks
from gradgate.common.run_folder import FLAGGED_SCHEMA, RunFolder
from gradgate.config import PolicyConfig, Section
from gradgate.data.prepare import SampleFile
from gradgate.gate.copies import count_copies, describe, doubt_surplus
from gradgate.gate.flag_table import Said, write_flags
from gradgate.gate.listing import columns_of, lines_of, write_listing
from gradgate.gate.quarantine import is_open, marks, write_quarantined
from gradgate.methods.checks import require_contract, require_own_signals, require_signals
from gradgate.methods.contract import (
    Detection,
    Erosion,
    Method,
    ModelAccess,
    Question,
    Scores,
    Undecided,
)
from gradgate.methods.evidence import Group
from gradgate.methods.expected import Expected
from gradgate.methods.rehearsal.by_reference import ByReference, held_against
from gradgate.methods.rehearsal.rehearse import Rehearsal, rehearse
from gradgate.methods.tokens import TokenTable

DEFAULT_POLICY = PolicyConfig()


@dataclass(frozen=True)
class Flagging:
    """What a method says of a run, without the rows.

    Attributes:
        n_flagged: Of the scored rows that nobody has decided on; None when the method could not
            decide.
        n_in_doubt: Of the same rows, surplus copies among them.
        groups: The evidence, the most important first.
        undecided_because: Why the method could not decide, in words.
        undecided_means: What the method, or its settings, makes of that.
        n_surplus: Rows beyond `policy.max_copies` of their text, flagged ones among them; they go
            with the first answer alone.
        remarks: What a reader has to know besides, in words.
    """

    question: Question
    method: str
    n_flagged: int | None
    n_in_doubt: int
    groups: list[Group] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    summary: dict[str, object] = field(default_factory=dict)
    undecided_because: str | None = None
    undecided_means: Undecided = "review"
    n_surplus: int = 0
    remarks: list[str] = field(default_factory=list)


@dataclass(frozen=True, eq=False)
class Asked:
    """A method that is asked, and what it may use.

    Attributes:
        method: The method.
        settings: Its own.
        reference: Samples of the trusted data set.
        model: That scored; for a method that needs tokens, the model or other samples' scores.
        rehearsal: How its groups are rehearsed; None where they are not.
        by_reference: How models are trained on the reference; None where none is.
    """

    method: Method[Any]
    settings: Section
    reference: Path | None = None
    model: ModelAccess | None = None
    rehearsal: Rehearsal | None = None
    by_reference: ByReference | None = None


def flag(
    run: RunFolder, asked: Sequence[Asked], policy: PolicyConfig = DEFAULT_POLICY
) -> list[Flagging]:
    """Let methods judge a scored data set, and write the three tables of what came of it.

    These are flags.parquet, flagged.parquet and quarantined.parquet. What becomes of copies is the
    gate's own addition: those beyond `policy.max_copies` are in doubt, with the first answer.

    Args:
        run: Holds samples.parquet and scores.parquet.
        asked: At least one method, and one for a question.
        policy: What the owner vouches for, how many copies may stay, and what becomes of doubt.

    Raises:
        ConfigError: A pattern that the owner vouches for takes too long on these texts.
        DataError: A table cannot be read, the two do not belong together, or a row lacks a signal
            that a method needs.
        MethodError: A method broke its contract.
    """
    surplus, said, flaggings = None, list[Said](), list[Flagging]()
    judged = _judge_all(run, asked, policy)
    for one, (scores, found) in zip(asked, judged, strict=True):
        remarks: list[str] = []
        if surplus is None:
            found, surplus, remarks = _with_copies(run, found, scores, policy.max_copies)
            flagging = flagging_of(one.method, found, scores)
            flaggings.append(replace(flagging, n_surplus=int(surplus.sum()), remarks=remarks))
        else:
            flaggings.append(flagging_of(one.method, found, scores))
        said.append(Said(one.method.question, one.method.name, found))
    require_own_signals({one.method: one.found for one in said})
    assert surplus is not None
    write_flags(run, said, surplus)
    questions = [one.question for one in said]
    write_flagged(run, questions)
    write_quarantined(run, policy.in_doubt, questions)
    return flaggings


def _judge_all(
    run: RunFolder, asked: Sequence[Asked], policy: PolicyConfig
) -> list[tuple[Scores, Detection]]:
    """What the methods say, in their order; the others hear what is harmful."""
    judged: dict[str, tuple[Scores, Detection]] = {}
    erosion: Erosion | None = None
    for one in sorted(asked, key=lambda one: one.method.question != "harmful"):
        judged[one.method.question] = _judged(run, one, policy, erosion)
        erosion = judged[one.method.question][1].erosion or erosion
    return [judged[one.method.question] for one in asked]


def _judged(
    run: RunFolder, asked: Asked, policy: PolicyConfig, erosion: Erosion | None
) -> tuple[Scores, Detection]:
    """What a method makes of the scores; errors as for `flag`."""
    method = asked.method
    scores = Scores.read(run.scores, (*method.needs, *method.reports))
    scores = replace(scores, expected=expected_by(policy), erosion=erosion)
    if asked.model is not None:
        scores = with_model(run, method, scores, asked.model)
    require_signals(method, scores)
    trusted = None if asked.reference is None else SampleFile(asked.reference)
    found = method.detect(scores, SampleFile(run.samples), trusted, asked.settings)
    if asked.rehearsal is not None:
        found = rehearse(found, scores, SampleFile(run.samples), asked.rehearsal)
    if asked.by_reference is not None and asked.reference is not None:
        read = SampleFile(run.samples), asked.reference
        found = held_against(found, scores, *read, asked.by_reference)
    require_contract(method, found, scores)
    return scores, found


def _with_copies(
    run: RunFolder, found: Detection, scores: Scores, max_copies: int | None
) -> tuple[Detection, Marks, list[str]]:
    """The detection with surplus copies in doubt, which they are, and remarks on them."""
    if max_copies is None:
        return found, np.zeros(scores.n, bool), []
    copies = count_copies(SampleFile(run.samples))
    found, surplus = doubt_surplus(found, copies, scores, max_copies)
    return found, surplus, describe(copies, scores.rows, max_copies)


def with_model(run: RunFolder, method: Method[Any], scores: Scores, model: ModelAccess) -> Scores:
    """The scores with as much of the model as the method needs.

    Raises:
        DataError: samples.parquet and the scores do not belong together.
    """
    scores = replace(scores, score=model.score, probes=model.probes)
    if method.needs_tokens:
        tokens = TokenTable.read(run, scores.rows, scores.sample_ids, model.handle.tokenizer())
        scores = replace(scores, tokens=tokens, ask=model.ask, describe=model.describe)
    return replace(scores, model=model.handle) if method.needs_model else scores


def expected_by(policy: PolicyConfig) -> Expected | None:
    """What the owner vouches for; None for nothing."""
    return Expected.of(policy.expected) if policy.expected else None


def flagging_of(method: Method[Any], found: Detection, scores: Scores) -> Flagging:
    """What a detection says without its rows."""
    is_counted = found.flagged is not None and found.undecided_because is None
    return Flagging(
        question=method.question,
        method=method.name,
        n_flagged=_count(found.flagged, scores) if is_counted else None,
        n_in_doubt=_count(found.in_doubt, scores),
        groups=found.groups,
        notes=found.notes,
        summary=json.loads(json.dumps(found.summary, allow_nan=False)),  # as it is read again
        undecided_because=found.undecided_because,
        undecided_means=found.undecided_means,
    )


def _count(marks: Marks | None, scores: Scores) -> int:
    return 0 if marks is None else int((marks & scores.is_scored).sum())


def write_flagged(run: RunFolder, questions: Sequence[str]) -> None:
    """Write flagged.parquet: the flagged rows that nobody has decided on, in row order.

    They stand there with their text.

    Args:
        run: Holds samples.parquet and flags.parquet.
        questions: That were asked, in their order.
    """
    columns = dict.fromkeys(["flagged", "approved", *columns_of(FLAGGED_SCHEMA, questions)])
    tables = (
        lines_of(_open_flagged(flags), questions, "flagged")
        for flags in parquet.tables(run.flags, list(columns))
    )
    write_listing(run.flagged, tables, run.samples, FLAGGED_SCHEMA)


def _open_flagged(flags: pa.Table) -> pa.Table:
    return flags.filter(pa.array(marks(flags["flagged"], True) & is_open(flags)))


def top_flagged(run: RunFolder, n: int) -> list[dict[str, Any]]:
    """The n most suspicious flagged rows; of several questions, their rows take turns.

    The measure is spectral entropy among poisoned rows, and the method's own among others.
    """
    table = parquet.table(run.flagged, ["row", "spectral_entropy", "suspicion", "questions"])
    of = pc.list_element(table["questions"], 0)
    turns: list[tuple[int, int, int]] = []
    for question in sorted(of.unique().to_pylist(), key=lambda name: name != "poisoned"):
        measure = "spectral_entropy" if question == "poisoned" else "suspicion"
        own = table.filter(pc.equal(of, question))
        rows = own.sort_by([(measure, "descending"), ("row", "ascending")])["row"][:n].to_pylist()
        turns += [(turn, len(turns), row) for turn, row in enumerate(rows)]
    order = {row: place for place, (*_, row) in enumerate(sorted(turns)[:n])}
    chosen = parquet.table(run.flagged, filters=pc.field("row").isin(list(order)))
    return sorted(chosen.to_pylist(), key=lambda line: order[line["row"]])
