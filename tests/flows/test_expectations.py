import json
import subprocess
import sys
from dataclasses import FrozenInstanceError
from datetime import datetime
from pathlib import Path
from typing import Any

import great_expectations as gx
import great_expectations.expectations as gxe
import numpy as np
import pandas as pd
import pytest

from expectations.fraction_limits import (
    FRACTION_LIMITS,
    ExpectPoisonFractionToBeAtMost,
    ExpectReviewFractionToBeAtMost,
)
from expectations.suites import gate_suite, raw_data_suite, samples_suite
from expectations.validation import UnevaluatedError, ValidationReport, to_plain, validate
from gradgate.config import PolicyConfig
from gradgate.gate.policy import (
    decide_by_fraction,
    fraction_interval,
    is_within_limit,
    is_within_review,
    limits_of,
)
from gradgate.methods.contract import Question

N = 100
SCRIPT = "<script>alert(1)</script>"


def raw_frame() -> pd.DataFrame:
    ids = [f"id{i}" for i in range(N)]
    return pd.DataFrame(
        {
            "row": range(N),
            "rejected": [0] * (N - 1) + [1],
            "sample_id": [*ids[: N - 1], None],
            "n_prompt_chars": 7,
            "n_target_chars": 3,
        }
    )


def samples_frame() -> pd.DataFrame:
    frame = raw_frame()
    return frame[frame["rejected"] == 0].copy()


def flags_frame(n_flagged: int = 2, n_in_doubt: int = 0) -> pd.DataFrame:
    n_either = n_flagged + n_in_doubt
    return pd.DataFrame(
        {
            "row": range(N),
            "sample_id": [f"id{i}" for i in range(N)],
            "spectral_entropy": np.linspace(0.0, 1.0, N),
            "n_target_tokens": 3,
            "loss": 1.5,
            "gradient_norm": 0.1,
            "status": "scored",
            "reason": None,
            "flagged": [1] * n_flagged + [0] * (N - n_flagged),
            "flagged_or_in_doubt": [1] * n_either + [0] * (N - n_either),
        }
    )


def raw_suite(**changes: Any) -> gx.ExpectationSuite:
    return raw_data_suite(**{"n_fetched": N, "max_rejected_fraction": 0.01, **changes})


def accepted_suite(**changes: Any) -> gx.ExpectationSuite:
    given = {"n_samples": N - 1, "n_unique": N - 1, "min_rows": 1, "has_prompts": True}
    return samples_suite(**{**given, **changes})


def flags_suite(
    max_poison_fraction: float = 0.05, review_above: float | None = None, n_rejected: int = 3
) -> gx.ExpectationSuite:
    limit = max_poison_fraction if review_above is None else review_above
    policy = PolicyConfig(max_poison_fraction=max_poison_fraction, review_above=limit)
    decided = [limits_of(policy, "poisoned")]
    return gate_suite(
        n_fetched=N + 3, n_rejected=n_rejected, questions=["poisoned"], decided=decided
    )


UNDECIDED = gate_suite(n_fetched=N, n_rejected=0, questions=["poisoned"], decided=[])


def with_value(
    frame: pd.DataFrame, column: str, value: str | float | None, row: int = 5
) -> pd.DataFrame:
    changed = frame.astype({column: object}) if isinstance(value, str) else frame.copy()
    changed.loc[row, column] = value
    return changed


def only_failure(report: ValidationReport) -> str:
    assert not report.success
    assert len(report.failures) == 1, report.failures
    return report.failures[0]


@pytest.mark.parametrize(
    ("frame", "suite"),
    [
        (raw_frame(), raw_suite()),
        (samples_frame(), accepted_suite()),
        (samples_frame().assign(n_prompt_chars=0), accepted_suite(has_prompts=False)),
        (samples_frame().drop(columns="n_prompt_chars"), accepted_suite(has_prompts=False)),
        (flags_frame(), flags_suite()),
        (flags_frame(5), flags_suite()),  # the limit itself is allowed
        (flags_frame(0), flags_suite(max_poison_fraction=0.0)),
        (flags_frame().drop(columns=["flagged", "flagged_or_in_doubt"]), UNDECIDED),
    ],
)
def test_good_frame_passes(frame: pd.DataFrame, suite: gx.ExpectationSuite, tmp_path: Path) -> None:
    report = validate(frame, suite, tmp_path)
    assert report.success
    assert report.failures == []
    assert report.result["statistics"]["successful_expectations"] == len(suite.expectations)


RAW_BREAKS = [
    (raw_frame(), raw_suite(n_fetched=N + 1), "expect_table_row_count_to_equal [value=101]"),
    (raw_frame().assign(row=[1, 1, *range(2, N)]), raw_suite(), "to_be_unique(row)"),
    (with_value(raw_frame(), "row", None), raw_suite(), "to_not_be_null(row)"),
    (with_value(raw_frame(), "rejected", np.nan), raw_suite(max_rejected_fraction=0.5), "rejected"),
    (
        with_value(raw_frame(), "rejected", 2),
        raw_suite(max_rejected_fraction=0.5),
        "to_be_in_set(rejected)",
    ),
    (with_value(raw_frame(), "rejected", 1), raw_suite(), "expect_rejected_fraction_to_be_at_most"),
]


@pytest.mark.parametrize(("frame", "suite", "failure"), RAW_BREAKS)
def test_raw_data_break(
    frame: pd.DataFrame, suite: gx.ExpectationSuite, failure: str, tmp_path: Path
) -> None:
    assert failure in only_failure(validate(frame, suite, tmp_path))


SAMPLES_BREAKS = [
    (samples_frame(), accepted_suite(n_samples=N), "expect_table_row_count_to_equal [value=100]"),
    (samples_frame(), accepted_suite(min_rows=N), "expect_table_row_count_to_be_between"),
    (
        samples_frame().assign(row=[1, 1, *range(2, N - 1)]),
        accepted_suite(),
        "to_be_unique(row)",
    ),
    (with_value(samples_frame(), "row", None), accepted_suite(), "to_not_be_null(row)"),
    (
        with_value(samples_frame(), "sample_id", None),
        accepted_suite(n_unique=N - 2),
        "expect_column_values_to_not_be_null(sample_id)",
    ),
    (samples_frame(), accepted_suite(n_unique=N), "unique_value_count_to_be_between(sample_id)"),
    (samples_frame(), accepted_suite(n_unique=N - 2), "unique_value_count_to_be_between"),
    (with_value(samples_frame(), "n_prompt_chars", 0), accepted_suite(), "(n_prompt_chars)"),
    (with_value(samples_frame(), "n_prompt_chars", None), accepted_suite(), "(n_prompt_chars)"),
    (with_value(samples_frame(), "n_target_chars", 0), accepted_suite(), "(n_target_chars)"),
    (with_value(samples_frame(), "n_target_chars", None), accepted_suite(), "(n_target_chars)"),
]


@pytest.mark.parametrize(("frame", "suite", "failure"), SAMPLES_BREAKS)
def test_samples_break(
    frame: pd.DataFrame, suite: gx.ExpectationSuite, failure: str, tmp_path: Path
) -> None:
    assert failure in only_failure(validate(frame, suite, tmp_path))


GATE_BREAKS = [
    (flags_frame(), flags_suite(n_rejected=2), "expect_table_row_count_to_equal [value=101]"),
    (flags_frame().assign(row=[1, 1, *range(2, N)]), flags_suite(), "to_be_unique(row)"),
    (with_value(flags_frame(), "row", None), flags_suite(), "to_not_be_null(row)"),
    (with_value(flags_frame(), "sample_id", None), flags_suite(), "to_not_be_null(sample_id)"),
    (with_value(flags_frame(), "status", None), flags_suite(), "to_not_be_null(status)"),
    (with_value(flags_frame(), "status", "failed"), flags_suite(), "to_be_in_set(status)"),
    (
        with_value(flags_frame(), "spectral_entropy", np.nan),
        flags_suite(),
        "to_not_be_null(spectral_entropy)",
    ),
    (
        flags_frame()
        .astype({"spectral_entropy": object})
        .pipe(with_value, "spectral_entropy", None),
        flags_suite(),
        "to_not_be_null(spectral_entropy)",
    ),
    *(
        (
            with_value(flags_frame(), "spectral_entropy", value),
            flags_suite(),
            "to_be_between(spectral_entropy) [min_value=0.0, max_value=1.0]",
        )
        for value in (np.inf, -np.inf, 1.0001, -0.0001)
    ),
    (
        flags_frame().assign(spectral_entropy=np.nan),  # a map expectation passes vacuously
        flags_suite(),
        "to_not_be_null(spectral_entropy)",
    ),
    (with_value(flags_frame(), "flagged", np.nan), flags_suite(), "to_not_be_null(flagged)"),
    (with_value(flags_frame(), "flagged", 2), flags_suite(), "to_be_in_set(flagged)"),
    (
        flags_frame(6).assign(flagged_or_in_doubt=0),
        flags_suite(),
        "expect_poison_fraction_to_be_at_most(flagged)",
    ),
    (
        flags_frame(3, n_in_doubt=3),
        flags_suite(),
        "expect_review_fraction_to_be_at_most(flagged_or_in_doubt)",
    ),
]


@pytest.mark.parametrize(("frame", "suite", "failure"), GATE_BREAKS)
def test_gate_break(
    frame: pd.DataFrame, suite: gx.ExpectationSuite, failure: str, tmp_path: Path
) -> None:
    assert failure in only_failure(validate(frame, suite, tmp_path))


def test_failure_is_readable(tmp_path: Path) -> None:
    frame = with_value(flags_frame(6), "spectral_entropy", np.inf)
    assert validate(frame, flags_suite(), tmp_path).failures == [
        "expect_column_values_to_be_between(spectral_entropy) [min_value=0.0, max_value=1.0]: "
        "every spectral entropy is finite and in [0, 1]: 1 of 100 rows fail (5: inf)",
        "expect_poison_fraction_to_be_at_most(flagged) [max_value=0.05]: poison fraction (flagged "
        "part of the scored rows) must be at most 5 %: observed 6.00 % (6 of 100 rows; 95 % "
        "interval 2.2 % to 12.6 %), limit 5 %",
        "expect_review_fraction_to_be_at_most(flagged_or_in_doubt) [max_value=0.05]: part of the "
        "scored rows that is flagged or in doubt (more needs a review) must be at most 5 %: "
        "observed 6.00 % (6 of 100 rows; 95 % interval 2.2 % to 12.6 %), limit 5 %",
    ]


@pytest.mark.parametrize(("n_harmful", "is_within"), [(4, True), (5, False)])
def test_each_question_has_limits_of_its_own(
    n_harmful: int, is_within: bool, tmp_path: Path
) -> None:
    both: tuple[Question, Question] = ("poisoned", "harmful")
    policy = PolicyConfig(max_harmful_fraction=0.04, harmful_review_above=0.04)
    decided = [limits_of(policy, question) for question in both]
    suite = gate_suite(n_fetched=N, n_rejected=0, questions=both, decided=decided)
    frame = flags_frame(2).rename(columns=lambda c: f"poisoned_{c}" if "flagged" in c else c)
    marks = flags_frame(n_harmful)[["flagged", "flagged_or_in_doubt"]].add_prefix("harmful_")
    report = validate(frame.join(marks), suite, tmp_path)
    assert report.is_met(ExpectPoisonFractionToBeAtMost)
    assert report.is_met(ExpectReviewFractionToBeAtMost)
    limits = FRACTION_LIMITS["harmful"]
    assert [report.is_met(limit) for limit in limits] == [is_within, is_within]
    assert report.failures_but_for(*limits) == []
    unknown = with_value(frame.join(marks), "harmful_flagged", np.nan)
    (failure,) = validate(unknown, suite, tmp_path).failures_but_for(*limits)
    assert "to_not_be_null(harmful_flagged)" in failure
    half = gate_suite(n_fetched=N, n_rejected=0, questions=both, decided=decided[:1])
    assert validate(frame, half, tmp_path).success  # the other could not decide


@pytest.mark.parametrize("n_in_doubt", [0, 3])
@pytest.mark.parametrize("n_flagged", [0, 2, 3, 5, 6, 100 - 3])
def test_the_limits_are_those_of_the_policy(
    n_flagged: int, n_in_doubt: int, tmp_path: Path
) -> None:
    limits = limits_of(PolicyConfig(max_poison_fraction=0.05, review_above=0.02), "poisoned")
    suite = gate_suite(n_fetched=N, n_rejected=0, questions=["poisoned"], decided=[limits])
    report = validate(flags_frame(n_flagged, n_in_doubt), suite, tmp_path)
    within = report.is_met(ExpectPoisonFractionToBeAtMost)
    assert within == is_within_limit(n_flagged, N, limits)
    within_review = report.is_met(ExpectReviewFractionToBeAtMost)
    assert within_review == is_within_review(n_flagged, N, n_in_doubt, limits)
    decision, _ = decide_by_fraction(n_flagged, N, limits, n_in_doubt)
    assert (decision == "fail") == (not within)
    assert within_review or decision != "pass"
    both = (ExpectPoisonFractionToBeAtMost, ExpectReviewFractionToBeAtMost)
    assert report.failures_but_for(*both) == []


def test_an_expectation_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    frame = flags_frame().drop(columns=["flagged", "flagged_or_in_doubt"])
    report = validate(frame, UNDECIDED, tmp_path)
    with pytest.raises(UnevaluatedError, match="0 results of expect_poison_fraction"):
        report.is_met(ExpectPoisonFractionToBeAtMost)


def test_all_flags_missing_do_not_pass(tmp_path: Path) -> None:
    report = validate(flags_frame().assign(flagged=np.nan), flags_suite(), tmp_path)
    assert not report.success


@pytest.mark.parametrize("column", ["row", "sample_id", "status", "spectral_entropy", "flagged"])
def test_missing_column_is_an_error(column: str, tmp_path: Path) -> None:
    with pytest.raises(UnevaluatedError, match=f'"{column}" in BatchData does not exist'):
        validate(flags_frame().drop(columns=column), flags_suite(), tmp_path)
    assert not (tmp_path / "index.html").exists()


def test_raising_metric_is_an_error(tmp_path: Path) -> None:
    frame = flags_frame().assign(spectral_entropy="0.5")
    with pytest.raises(UnevaluatedError, match="between"):
        validate(frame, flags_suite(), tmp_path)


def test_raising_expectation_is_an_error(tmp_path: Path) -> None:
    """The other shape of exception_info: the metric is computed, the expectation raises."""
    expectation = gxe.ExpectColumnMeanToBeBetween(column="flagged", max_value=datetime(2026, 1, 1))
    with pytest.raises(UnevaluatedError, match=r"mean_to_be_between\(flagged\)"):
        validate(flags_frame(), gx.ExpectationSuite("gate", expectations=[expectation]), tmp_path)


def test_empty_frame_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UnevaluatedError, match="no rows"):
        validate(flags_frame().iloc[:0], UNDECIDED, tmp_path)


def test_suite_without_expectations_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UnevaluatedError, match="no expectations"):
        validate(flags_frame(), gx.ExpectationSuite("gate"), tmp_path)


RELOAD = """
import sys
from pathlib import Path
import great_expectations as gx
import pandas as pd
context = gx.get_context(mode="file", project_root_dir=sys.argv[1])
suite = context.suites.get("gate")
assert "expectations.fraction_limits" not in sys.modules
frame = pd.DataFrame({"flagged": [1, 1]})
assets = context.data_sources.add_pandas("p").add_dataframe_asset("a")
batch = assets.add_batch_definition_whole_dataframe("b").get_batch({"dataframe": frame})
assert batch.validate(suite).success, "Great Expectations no longer fails open"
from expectations.validation import UnevaluatedError, validate
try:
    validate(frame, suite, Path(sys.argv[1]) / "docs")
except UnevaluatedError as error:
    sys.exit(0 if "no expectations" in str(error) else 3)
sys.exit(4)
"""


def test_suite_reloaded_without_its_class_is_an_error(tmp_path: Path) -> None:
    limit = ExpectPoisonFractionToBeAtMost(column="flagged", max_value=0.05)
    context = gx.get_context(mode="file", project_root_dir=tmp_path)
    context.suites.add(gx.ExpectationSuite("gate", expectations=[limit]))
    subprocess.run(
        [sys.executable, "-c", RELOAD, str(tmp_path)],
        cwd=Path(__file__).parents[2],
        check=True,
        timeout=120,
    )


def test_limit_has_no_default() -> None:
    with pytest.raises(ValueError, match="max_value"):
        ExpectPoisonFractionToBeAtMost.parse_obj({"column": "flagged"})


def test_small_limit_is_not_rounded_to_zero() -> None:
    limit = ExpectPoisonFractionToBeAtMost(column="flagged", max_value=0.0001)
    assert limit.description is not None
    assert limit.description.endswith("at most 0.01 %")


def test_record_is_plain_json(tmp_path: Path) -> None:
    frame = with_value(flags_frame(6), "spectral_entropy", np.inf)
    report = validate(frame, flags_suite(), tmp_path / "docs")
    report.save(tmp_path / "gate.json")
    saved = json.loads((tmp_path / "gate.json").read_text())
    assert saved == report.result
    by_type = {result["expectation_config"]["type"]: result for result in saved["results"]}
    poison = by_type["expect_poison_fraction_to_be_at_most"]
    low, high = fraction_interval(6, N)
    expected = {"observed_value": 0.06, "n_rows": N, "n_marked": 6, "interval": [low, high]}
    assert poison["result"] == expected
    assert poison["expectation_config"]["kwargs"]["max_value"] == 0.05
    assert by_type["expect_column_values_to_be_between"]["result"]["partial_unexpected_list"] == [
        None
    ]
    with pytest.raises(FrozenInstanceError):
        report.success = True  # type: ignore[misc]


def test_to_plain() -> None:
    value = {1: (np.float64("nan"), np.int64(2), np.bool_(True)), "x": {float("inf")}, "y": pd.NA}
    plain = to_plain(value)
    assert plain == {"1": [None, 2, True], "x": [None], "y": "<NA>"}
    assert [type(item) for item in plain["1"][1:]] == [int, bool]


def test_docs_hold_all_suites(tmp_path: Path) -> None:
    validate(raw_frame(), raw_suite(), tmp_path)
    validate(samples_frame(), accepted_suite(), tmp_path)
    validate(flags_frame(), flags_suite(), tmp_path)
    validate(flags_frame(6), flags_suite(), tmp_path)  # again: takes the place of the first
    index = (tmp_path / "index.html").read_text()
    assert index.index('href="raw_data.html"') < index.index('href="gate.html"')
    assert index.count('href="gate.html"') == 1
    for text in (
        "poison fraction (flagged part of the scored rows) must be at most 5 %",
        "6.00 % (6 of 100 rows; 95 % interval 2.2 % to 12.6 %), limit 5 %",
    ):
        assert text in index
        assert text in (tmp_path / "gate.html").read_text()
    for page in ("raw_data", "samples", "gate"):
        assert 'href="index.html"' in (tmp_path / f"{page}.html").read_text()


def test_docs_are_offline_and_escape_data(tmp_path: Path) -> None:
    frame = samples_frame()
    frame.loc[frame["row"] < 2, "sample_id"] = SCRIPT
    unique = gxe.ExpectColumnValuesToBeUnique(column="sample_id")
    validate(frame, gx.ExpectationSuite("ids", expectations=[unique]), tmp_path)
    validate(with_value(flags_frame(), "status", SCRIPT), flags_suite(), tmp_path)
    for page in tmp_path.glob("*.html"):
        text = page.read_text()
        assert "<script" not in text
        assert "http:" not in text
        assert "https:" not in text
        assert "default-src 'none'" in text
    for suite in ("ids", "gate"):
        assert "&lt;script&gt;alert(1)&lt;/script&gt;" in (tmp_path / f"{suite}.html").read_text()


def test_nothing_is_printed_or_changed(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    frame = flags_frame(6).astype({"flagged": "Int64"})
    frame.loc[0, "flagged"] = pd.NA
    before = frame.copy()
    validate(frame, flags_suite(), tmp_path)
    pd.testing.assert_frame_equal(frame, before)
    assert capfd.readouterr() == ("", "")
