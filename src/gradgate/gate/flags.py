"""The table of flags: what a method says of each row, beside its scores."""

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from gradgate.common import parquet
from gradgate.common.arrays import Marks
from gradgate.common.files import written_whole
from gradgate.common.run_folder import FLAG_FIELDS, FLAGGED_SCHEMA, REPEATED, RunFolder, is_scored
from gradgate.config import PolicyConfig, Section
from gradgate.data.prepare import SampleFile
from gradgate.gate.copies import count_copies, describe, doubt_surplus
from gradgate.gate.listing import write_listing
from gradgate.gate.quarantine import write_quarantined
from gradgate.methods.checks import require_contract, require_signals
from gradgate.methods.contract import Detection, Method, ModelAccess, Question, Scores
from gradgate.methods.evidence import Group
from gradgate.methods.expected import Expected
from gradgate.methods.tokens import TokenTable

DEFAULT_POLICY = PolicyConfig()


@dataclass(frozen=True)
class Flagging:
    """What a method says of a run, without the rows.

    Attributes:
        n_flagged: Of the scored rows; None when the method could not decide.
        n_in_doubt: Of the scored rows, surplus copies among them.
        groups: The evidence, the most important first.
        undecided_because: Why the method could not decide, in words.
        undecided_means: What its settings make of that.
        n_surplus: Rows beyond `policy.max_copies` of their text, flagged ones among them.
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
    undecided_means: Literal["review", "fail", "pass"] = "review"
    n_surplus: int = 0
    remarks: list[str] = field(default_factory=list)


def flag(
    run: RunFolder,
    method: Method[Any],
    settings: Section,
    reference: Path | None = None,
    policy: PolicyConfig = DEFAULT_POLICY,
    model: ModelAccess | None = None,
) -> Flagging:
    """Let a method judge a scored data set, and write the three tables of what came of it.

    These are flags.parquet, flagged.parquet and quarantined.parquet. What the method makes of
    copies is the gate's own addition: those beyond `policy.max_copies` are in doubt.

    Args:
        run: Holds samples.parquet and scores.parquet.
        method: The method.
        settings: Its own.
        reference: Samples of the trusted data set.
        policy: What the owner vouches for, how many copies may stay, and what becomes of doubt.
        model: That scored; for a method that needs tokens, the model or other samples' scores.

    Raises:
        ConfigError: A pattern that the owner vouches for takes too long on these texts.
        DataError: A table cannot be read, the two do not belong together, or a row lacks a signal
            that the method needs.
        MethodError: The method broke its contract.
    """
    scores = Scores.read(run.scores, (*method.needs, *method.reports))
    scores = replace(scores, expected=expected_by(policy))
    if model is not None:
        scores = with_model(run, method, scores, model)
    require_signals(method, scores)
    trusted = None if reference is None else SampleFile(reference)
    found = method.detect(scores, SampleFile(run.samples), trusted, settings)
    require_contract(method, found, scores)
    surplus, remarks = np.zeros(scores.n, bool), []
    if policy.max_copies is not None:
        copies = count_copies(SampleFile(run.samples))
        found, surplus = doubt_surplus(found, copies, scores, policy.max_copies)
        remarks = describe(copies, scores.rows, policy.max_copies)
    write_flags(run, method.name, found, surplus)
    write_flagged(run)
    write_quarantined(run, policy.in_doubt)
    flagging = flagging_of(method, found, scores)
    return replace(flagging, n_surplus=int(surplus.sum()), remarks=remarks)


def with_model(run: RunFolder, method: Method[Any], scores: Scores, model: ModelAccess) -> Scores:
    """The scores with as much of the model as the method needs.

    Raises:
        DataError: samples.parquet and the scores do not belong together.
    """
    scores = replace(scores, score=model.score)
    if method.needs_tokens:
        tokens = TokenTable.read(run, scores, model.handle.tokenizer())
        scores = replace(scores, tokens=tokens, ask=model.ask)
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


def write_flags(run: RunFolder, method: str, found: Detection, surplus: Marks) -> None:
    """Write flags.parquet: the score table with what the method says of each row."""
    table = parquet.table(run.scores, REPEATED)
    scored = is_scored(table)
    for name, values in found.signals.items():
        column = pa.array(values, pa.float64(), from_pandas=True)
        table = table.append_column(pa.field(name, pa.float64()), column)
    p_values = np.full(table.num_rows, np.nan) if found.p_values is None else found.p_values
    flagged = np.zeros(table.num_rows, bool) if found.flagged is None else found.flagged
    known = scored & (found.flagged is not None)
    columns = [
        pa.array(found.suspicion, pa.float64(), from_pandas=True),
        pa.array(flagged, pa.bool_(), mask=~known),
        pa.array(found.in_doubt, pa.bool_(), mask=~scored),
        pa.array(p_values, pa.float64(), from_pandas=True),
        pa.array([found.reasons.get(i, []) for i in range(table.num_rows)], pa.list_(pa.string())),
        pa.array(found.group, pa.int32(), mask=found.group == 0),
        pa.array(surplus, pa.bool_()),
    ]
    for extra, values in zip(FLAG_FIELDS, columns, strict=True):
        table = table.append_column(extra, values)
    facts = {**(table.schema.metadata or {}), b"gradgate.method": method.encode()}
    with written_whole(run.flags) as part:
        pq.write_table(table.replace_schema_metadata(facts), part, compression="zstd")


def write_flagged(run: RunFolder) -> None:
    """Write flagged.parquet: the flagged rows with their text, in row order."""
    flags = parquet.table(run.flags, ["flagged", *FLAGGED_SCHEMA.names[:-2]])
    flagged = flags.filter(pc.fill_null(flags["flagged"], False)).drop_columns("flagged")
    write_listing(run.flagged, flagged, run.samples, FLAGGED_SCHEMA)


def top_flagged(run: RunFolder, n: int) -> list[dict[str, Any]]:
    """The n flagged rows of the highest spectral entropy, the highest first."""
    order = [("spectral_entropy", "descending"), ("row", "ascending")]
    table = parquet.table(run.flagged, ["row", "spectral_entropy"]).sort_by(order)
    rows = table["row"][:n].combine_chunks()
    chosen = parquet.table(run.flagged, filters=pc.field("row").isin(rows))
    return list(chosen.sort_by(order).to_pylist())
