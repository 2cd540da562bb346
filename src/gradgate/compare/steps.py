"""The steps of a comparison: one fetch, one scoring, and then each method by itself.

Each method goes through the gate's own steps behind the scoring, so that its flags and its verdict
are the product's. What one method breaks on is its line in the table, and not the end of the run.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
import pyarrow.compute as pc

from gradgate.common import parquet
from gradgate.common.arrays import Floats, Ints, Marks
from gradgate.common.redaction import redacted
from gradgate.common.run_folder import RunFolder, is_scored
from gradgate.compare.config import CompareConfig
from gradgate.compare.cost import Cost, Meter
from gradgate.compare.labels import LabelledRows, Labels
from gradgate.compare.result import Agreement, Comparison, MethodResult, SharedScoring
from gradgate.config import PowerConfig
from gradgate.data.prepare import Prepared
from gradgate.data.sources.source import open_rows
from gradgate.errors import DataError
from gradgate.evaluation.comparison import Overlap, auroc_estimate, overlap, quality
from gradgate.evaluation.rates import rate
from gradgate.gate import pipeline
from gradgate.gate.config import GateConfig
from gradgate.gate.findings import Scored
from gradgate.gate.pipeline import STEPS, Detected, ScoredRun
from gradgate.gate.verdict import Verdict
from gradgate.methods.contract import Question
from gradgate.methods.registry import method_named
from gradgate.scoring.run import Progress


@dataclass(frozen=True)
class Fetched:
    """The rows, and the truth about them, which the samples do not have."""

    prepared: Prepared
    labels: Labels


@dataclass(frozen=True)
class SharedScores:
    """The score table, and what it cost."""

    scored: ScoredRun
    cost: Cost


@dataclass(frozen=True, eq=False)
class Judged:
    """What a method says, with its marks of the scored rows that are no surplus copies.

    Those are in doubt with every method, and would make all of them agree.

    Attributes:
        flagged: None unless the method decided. (n,)
        kept_out: Flagged or in doubt; None unless the method decided. (n,)
    """

    result: MethodResult
    flagged: Marks | None = None
    kept_out: Marks | None = None


@dataclass(frozen=True, eq=False)
class _Marked:
    """The scored rows of a table of flags; (n,) each."""

    rows: Ints
    suspicion: Floats
    flagged: Marks
    in_doubt: Marks
    is_surplus: Marks


def fetch(config: CompareConfig, run: RunFolder) -> Fetched:
    """Make samples of the rows, without their labels.

    Raises:
        DataError: As for `prepare`; also when the rows are not fit to be scored, or a label is
            no truth value.
    """
    rows = LabelledRows(open_rows(config.data), config.compare.labels)
    prepared = pipeline.fetch(config, run, rows=rows, keep_rows=False)
    failures = pipeline.check_raw_data(prepared, config, run)
    if failures:
        raise DataError("; ".join(failures))
    return Fetched(prepared, rows.labels)


def score(
    prepared: Prepared, config: CompareConfig, run: RunFolder, on_progress: Progress
) -> SharedScores:
    """Write the score table that all methods read; errors as for `gate.pipeline.score`."""
    with Meter() as meter:
        scored = pipeline.score(prepared, config, run, on_progress)
    if scored.n_scored == 0:
        raise DataError(f"none of the {prepared.n_samples} rows could be scored")
    return SharedScores(scored, meter.cost)


def judge(
    method: str, fetched: Fetched, scored: Scored, config: CompareConfig, run: RunFolder
) -> Judged:
    """Let one method judge the scored rows, and hold it against the labels.

    It never raises: whatever a method breaks on is its result.
    """
    meter = Meter()
    question: Question | None = None
    try:
        question = method_named(method).question  # and its libraries, which are no cost of it
        verdict = _verdict(fetched.prepared, scored, gate_config(config, method), run, meter)
        return _judged(method, question, verdict, fetched.labels, config, run, meter.cost)
    except Exception as error:
        why = redacted(f"{type(error).__name__}: {error}")
        cost = None if np.isnan(meter.cost.seconds) else meter.cost
        return Judged(MethodResult(method, question, "failed", "error", [why], cost=cost))


def gate_config(config: CompareConfig, method: str) -> GateConfig:
    """The gate that asks one method alone, without canaries."""
    given = {name: getattr(config, name) for name in GateConfig.model_fields}
    update: dict[str, object] = {"methods": [method], "power": PowerConfig(attacks=[])}
    if not method_named(method).takes_reference:
        update["reference"] = None
    detection = config.detection.model_copy(update=update)
    return GateConfig.model_construct(**{**given, "detection": detection})


def _verdict(
    prepared: Prepared, scored: Scored, config: GateConfig, run: RunFolder, meter: Meter
) -> Verdict:
    """The gate's verdict; `meter` measures the method alone."""

    def detect(prepared: Prepared, config: GateConfig, run: RunFolder) -> Detected:
        with meter:
            return STEPS.detect(prepared, config, run)

    run.flags.unlink(missing_ok=True)  # of another method
    return pipeline.judge(prepared, scored, config, run, replace(STEPS, detect=detect))


def _judged(
    method: str,
    question: Question,
    verdict: Verdict,
    labels: Labels,
    config: CompareConfig,
    run: RunFolder,
    cost: Cost,
) -> Judged:
    marked, label = _read(run), labels.column_for(question)
    kept_out, seed = marked.flagged | marked.in_doubt, config.compare.seed
    is_decided = verdict.answers[0].n_flagged is not None
    result = MethodResult(
        method=method,
        question=question,
        state="decided" if is_decided else "undecided",
        verdict=verdict.decision,
        reasons=verdict.reasons,
        label=label,
        flagged=rate(marked.flagged) if is_decided else None,
        in_doubt=rate(marked.in_doubt),
        n_silent=int(np.isnan(marked.suspicion).sum()),
        cost=cost,
    )
    if label is not None:
        positive = labels.of(label, marked.rows)
        result = replace(result, auroc=auroc_estimate(marked.suspicion, positive, seed))
        if is_decided:
            result = replace(
                result,
                quality=quality(marked.flagged, positive, seed),
                quality_kept_out=quality(kept_out, positive, seed),
            )
    if not is_decided:
        return Judged(result)
    return Judged(result, marked.flagged[~marked.is_surplus], kept_out[~marked.is_surplus])


def _read(run: RunFolder) -> _Marked:
    names = ["row", "status", "suspicion", "flagged", "in_doubt", "surplus_copy"]
    table = parquet.table(run.flags, names)
    table = table.filter(is_scored(table))
    flagged, in_doubt, is_surplus = (
        np.asarray(pc.fill_null(table[name], False).to_numpy(), bool) for name in names[3:]
    )
    rows = np.asarray(table["row"].to_numpy(), np.int64)
    suspicion = np.asarray(table["suspicion"].to_numpy(), np.float64)
    return _Marked(rows, suspicion, flagged, in_doubt, is_surplus)


def draw_up(
    fetched: Fetched,
    scores: SharedScores,
    judged: list[Judged],
    config: CompareConfig,
    run: RunFolder,
) -> Comparison:
    """Put the methods side by side."""
    prepared, scored = fetched.prepared, scores.scored
    table = parquet.table(run.scores, ["row", "status"])
    rows = table["row"].to_numpy()[is_scored(table)]
    return Comparison(
        source=prepared.source,
        model=scored.model,
        n_rows=prepared.n_rows,
        n_rejected=prepared.n_rejected,
        n_samples=prepared.n_samples,
        n_scored=scored.n_scored,
        n_positive={
            name: int(fetched.labels.of(name, rows).sum()) for name in fetched.labels.columns
        },
        scoring=SharedScoring(scores.cost, scored.summary.n_scored, scored.summary.n_reused),
        methods=[one.result for one in judged],
        agreement=[_agreement(a, b) for a, b in combinations(judged, 2)],
        seed=config.compare.seed,
    )


def _agreement(first: Judged, second: Judged) -> Agreement:
    def of(marks: Callable[[Judged], Marks | None]) -> Overlap | None:
        one, other = marks(first), marks(second)
        return None if one is None or other is None else overlap(one, other)

    return Agreement(
        first.result.method,
        second.result.method,
        of(lambda judged: judged.flagged),
        of(lambda judged: judged.kept_out),
    )
