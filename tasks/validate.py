"""Check the raw data before scoring, and the table of flags after it."""

import pandas as pd
from prefect import task

from expectations.fraction_limits import (
    ExpectPoisonFractionToBeAtMost,
    ExpectReviewFractionToBeAtMost,
)
from expectations.suites import gate_suite, raw_data_suite, samples_suite
from expectations.validation import ValidationReport, validate
from gradgate.common.run_folder import RunFolder
from gradgate.data.prepare import Prepared
from gradgate.gate.config import GateConfig
from gradgate.gate.decide import Checked
from gradgate.gate.pipeline import Detected
from tasks.retries import OPTIONS

SAMPLE_COLUMNS = ["row", "sample_id", "n_prompt_chars", "n_target_chars"]
FLAG_COLUMNS = ["row", "sample_id", "status", "spectral_entropy", "flagged", "in_doubt"]


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
        has_prompts=prepared.row_format != "text",
    )
    return failures + _saved(validate(samples, suite, folder.data_docs), folder).failures


@task(**OPTIONS)
def check_flags(
    prepared: Prepared, detected: Detected, config: GateConfig, folder: RunFolder
) -> Checked:
    """What the gate suite says: whether the table is whole, and the two limits are kept."""
    is_decided = all(flagging.n_flagged is not None for flagging in detected.flaggings)
    suite = gate_suite(
        n_fetched=prepared.n_rows,
        n_rejected=prepared.n_rejected,
        policy=config.policy if is_decided else None,
    )
    report = _saved(validate(_flags(folder, is_decided), suite, folder.data_docs), folder)
    limits = (ExpectPoisonFractionToBeAtMost, ExpectReviewFractionToBeAtMost)
    within = map(report.is_met, limits) if is_decided else (None, None)
    return Checked(report.failures_but_for(*limits), *within)


def _flags(folder: RunFolder, is_decided: bool) -> pd.DataFrame:
    """The table of flags; marks are 0, 1 or NaN."""
    frame = pd.read_parquet(folder.flags, columns=FLAG_COLUMNS)
    marks = frame[["flagged", "in_doubt"]].astype("float")
    frame = frame.drop(columns=list(marks))
    if not is_decided:
        return frame
    either = marks.max(axis=1, skipna=False)
    return frame.assign(flagged=marks["flagged"], flagged_or_in_doubt=either)


def _saved(report: ValidationReport, folder: RunFolder) -> ValidationReport:
    report.save(folder.validation(report.suite))
    return report
