"""Check the raw data before scoring, and the table of flags after it."""

from collections.abc import Sequence
from itertools import chain

import pandas as pd
from prefect import task

from expectations.fraction_limits import FRACTION_LIMITS
from expectations.suites import (
    gate_suite,
    mark_columns,
    open_column,
    raw_data_suite,
    samples_suite,
)
from expectations.validation import ValidationReport, validate
from gradgate.common.run_folder import RunFolder, flag_column
from gradgate.data.prepare import Prepared
from gradgate.gate.config import GateConfig
from gradgate.gate.decide import Checked, Within
from gradgate.gate.pipeline import Detected
from gradgate.gate.policy import limits_of
from gradgate.methods.contract import Question
from tasks.retries import OPTIONS

# Formats a row of which may be all target.
_WITHOUT_PROMPTS = ("text", "tokens", "segments", "preference")
SAMPLE_COLUMNS = ["row", "sample_id", "n_prompt_chars", "n_target_chars"]
FLAG_COLUMNS = ["row", "sample_id", "status", "spectral_entropy"]


@task(**OPTIONS)
def check_raw_data(prepared: Prepared, config: GateConfig, folder: RunFolder) -> list[str]:
    """Failures of the raw-data suites; none when the dataset is fit to be scored."""
    samples = pd.read_parquet(prepared.samples_path, columns=SAMPLE_COLUMNS)
    rejected = pd.read_parquet(prepared.rejected_path, columns=["row"])
    rows = pd.concat([samples[["row"]].assign(rejected=0), rejected.assign(rejected=1)])
    suite = raw_data_suite(
        n_fetched=prepared.n_rows, max_rejected_fraction=config.data.max_rejected_fraction
    )
    failures = _saved(validate(rows, suite, folder.data_docs), folder).failures
    if samples.empty:
        return [*failures, f"none of the {prepared.n_rows} rows can be scored"]
    suite = samples_suite(
        n_samples=prepared.n_samples,
        n_unique=prepared.n_unique,
        min_rows=config.data.min_rows,
        has_prompts=prepared.row_format not in _WITHOUT_PROMPTS,
    )
    return failures + _saved(validate(samples, suite, folder.data_docs), folder).failures


@task(**OPTIONS)
def check_flags(
    prepared: Prepared, detected: Detected, config: GateConfig, folder: RunFolder
) -> Checked:
    """What the gate suite says: whether the table is whole, and each question's limits are kept."""
    questions = [flagging.question for flagging in detected.flaggings]
    decided = [f.question for f in detected.flaggings if f.n_flagged is not None]
    suite = gate_suite(
        n_fetched=prepared.n_rows,
        n_rejected=prepared.n_rejected,
        questions=questions,
        decided=[limits_of(config.policy, question) for question in decided],
        n_approved=detected.approved.n_decided,
    )
    frame = _flags(folder, decided, questions)
    report = _saved(validate(frame, suite, folder.data_docs), folder)
    has_open = prepared.n_samples > detected.approved.n_decided
    limits = {question: FRACTION_LIMITS[question] for question in decided if has_open}
    within = {question: Within(*map(report.is_met, pair)) for question, pair in limits.items()}
    return Checked(report.failures_but_for(*chain(*limits.values())), within)


def _flags(
    folder: RunFolder, decided: Sequence[Question], questions: Sequence[Question]
) -> pd.DataFrame:
    """The table of flags; marks are 0, 1 or NaN, and only there where a method could decide.

    Those of open rows alone are NaN where people have decided.
    """
    frame = pd.read_parquet(folder.flags, columns=FLAG_COLUMNS)
    is_open = pd.read_parquet(folder.flags, columns=["approved"])["approved"].isna()
    frame["open"] = is_open.astype(int)
    for question in decided:
        stored = [flag_column(name, question, questions) for name in ("flagged", "in_doubt")]
        marks = pd.read_parquet(folder.flags, columns=stored).astype("float")
        flagged, either = mark_columns(question, questions)
        frame[flagged] = marks[stored[0]]
        frame[either] = marks.max(axis=1, skipna=False)
        for column in (flagged, either):
            frame[open_column(column)] = frame[column].where(is_open)
    return frame


def _saved(report: ValidationReport, folder: RunFolder) -> ValidationReport:
    report.save(folder.validation(report.suite))
    return report
