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

from expectations.fraction_limits import ExpectPoisonFractionToBeAtMost
from expectations.suites import gate_suite, raw_data_suite, samples_suite
from expectations.validation import UnevaluatedError, ValidationReport, to_plain, validate

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


def scores_frame(n_flagged: int = 2) -> pd.DataFrame:
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
        }
    )


def raw_suite(**changes: Any) -> gx.ExpectationSuite:
    return raw_data_suite(**{"n_fetched": N, "max_rejected_fraction": 0.01, **changes})


def accepted_suite(**changes: Any) -> gx.ExpectationSuite:
    given = {"n_samples": N - 1, "n_unique": N - 1, "min_rows": 1, "has_prompts": True}
    return samples_suite(**{**given, **changes})


def scores_suite(**changes: Any) -> gx.ExpectationSuite:
    given = {"n_fetched": N + 3, "n_rejected": 3, "max_poison_fraction": 0.05}
    return gate_suite(**{**given, **changes})


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
        (scores_frame(), scores_suite()),
        (scores_frame(5), scores_suite()),  # the limit itself is allowed
        (scores_frame(0), scores_suite(max_poison_fraction=0.0)),
        (scores_frame().drop(columns="flagged"), scores_suite(max_poison_fraction=None)),
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
    (scores_frame(), scores_suite(n_rejected=2), "expect_table_row_count_to_equal [value=101]"),
    (scores_frame().assign(row=[1, 1, *range(2, N)]), scores_suite(), "to_be_unique(row)"),
    (with_value(scores_frame(), "row", None), scores_suite(), "to_not_be_null(row)"),
    (with_value(scores_frame(), "sample_id", None), scores_suite(), "to_not_be_null(sample_id)"),
    (with_value(scores_frame(), "status", None), scores_suite(), "to_not_be_null(status)"),
    (with_value(scores_frame(), "status", "failed"), scores_suite(), "to_be_in_set(status)"),
    (
        with_value(scores_frame(), "spectral_entropy", np.nan),
        scores_suite(),
        "to_not_be_null(spectral_entropy)",
    ),
    (
        scores_frame()
        .astype({"spectral_entropy": object})
        .pipe(with_value, "spectral_entropy", None),
        scores_suite(),
        "to_not_be_null(spectral_entropy)",
    ),
    *(
        (
            with_value(scores_frame(), "spectral_entropy", value),
            scores_suite(),
            "to_be_between(spectral_entropy) [min_value=0.0, max_value=1.0]",
        )
        for value in (np.inf, -np.inf, 1.0001, -0.0001)
    ),
    (
        scores_frame().assign(spectral_entropy=np.nan),  # a map expectation passes vacuously
        scores_suite(),
        "to_not_be_null(spectral_entropy)",
    ),
    (with_value(scores_frame(), "flagged", np.nan), scores_suite(), "to_not_be_null(flagged)"),
    (with_value(scores_frame(), "flagged", 2), scores_suite(), "to_be_in_set(flagged)"),
    (scores_frame(6), scores_suite(), "expect_poison_fraction_to_be_at_most(flagged)"),
]


@pytest.mark.parametrize(("frame", "suite", "failure"), GATE_BREAKS)
def test_gate_break(
    frame: pd.DataFrame, suite: gx.ExpectationSuite, failure: str, tmp_path: Path
) -> None:
    assert failure in only_failure(validate(frame, suite, tmp_path))


def test_failure_is_readable(tmp_path: Path) -> None:
    report = validate(
        with_value(scores_frame(6), "spectral_entropy", np.inf), scores_suite(), tmp_path
    )
    assert report.failures == [
        "expect_column_values_to_be_between(spectral_entropy) [min_value=0.0, max_value=1.0]: "
        "every spectral entropy is finite and in [0, 1]: 1 of 100 rows fail (5: inf)",
        "expect_poison_fraction_to_be_at_most(flagged) [max_value=0.05]: poison fraction (flagged "
        "part of the scored rows) must be at most 5 %: observed 0.06",
    ]


def test_all_flags_missing_do_not_pass(tmp_path: Path) -> None:
    report = validate(scores_frame().assign(flagged=np.nan), scores_suite(), tmp_path)
    assert not report.success


@pytest.mark.parametrize("column", ["row", "sample_id", "status", "spectral_entropy", "flagged"])
def test_missing_column_is_an_error(column: str, tmp_path: Path) -> None:
    with pytest.raises(UnevaluatedError, match=f'"{column}" in BatchData does not exist'):
        validate(scores_frame().drop(columns=column), scores_suite(), tmp_path)
    assert not (tmp_path / "index.html").exists()


def test_raising_metric_is_an_error(tmp_path: Path) -> None:
    frame = scores_frame().assign(spectral_entropy="0.5")
    with pytest.raises(UnevaluatedError, match="between"):
        validate(frame, scores_suite(), tmp_path)


def test_raising_expectation_is_an_error(tmp_path: Path) -> None:
    """The other shape of exception_info: the metric is computed, the expectation raises."""
    expectation = gxe.ExpectColumnMeanToBeBetween(column="flagged", max_value=datetime(2026, 1, 1))
    with pytest.raises(UnevaluatedError, match=r"mean_to_be_between\(flagged\)"):
        validate(scores_frame(), gx.ExpectationSuite("gate", expectations=[expectation]), tmp_path)


def test_empty_frame_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UnevaluatedError, match="no rows"):
        validate(scores_frame().iloc[:0], scores_suite(n_fetched=0, n_rejected=0), tmp_path)


def test_suite_without_expectations_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UnevaluatedError, match="no expectations"):
        validate(scores_frame(), gx.ExpectationSuite("gate"), tmp_path)


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
        cwd=Path(__file__).parent.parent,
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
    frame = with_value(scores_frame(6), "spectral_entropy", np.inf)
    report = validate(frame, scores_suite(), tmp_path / "docs")
    report.save(tmp_path / "gate.json")
    saved = json.loads((tmp_path / "gate.json").read_text())
    assert saved == report.result
    by_type = {result["expectation_config"]["type"]: result for result in saved["results"]}
    poison = by_type["expect_poison_fraction_to_be_at_most"]
    assert poison["result"]["observed_value"] == 0.06
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
    validate(scores_frame(), scores_suite(), tmp_path)
    validate(scores_frame(6), scores_suite(), tmp_path)  # again: takes the place of the first
    index = (tmp_path / "index.html").read_text()
    assert index.index('href="raw_data.html"') < index.index('href="gate.html"')
    assert index.count('href="gate.html"') == 1
    for text in ("poison fraction (flagged part of the scored rows) must be at most 5 %", "6 %"):
        assert text in index
        assert text in (tmp_path / "gate.html").read_text()
    for page in ("raw_data", "samples", "gate"):
        assert 'href="index.html"' in (tmp_path / f"{page}.html").read_text()


def test_docs_are_offline_and_escape_data(tmp_path: Path) -> None:
    frame = samples_frame()
    frame.loc[frame["row"] < 2, "sample_id"] = SCRIPT
    unique = gxe.ExpectColumnValuesToBeUnique(column="sample_id")
    validate(frame, gx.ExpectationSuite("ids", expectations=[unique]), tmp_path)
    validate(with_value(scores_frame(), "status", SCRIPT), scores_suite(), tmp_path)
    for page in tmp_path.glob("*.html"):
        text = page.read_text()
        assert "<script" not in text
        assert "http:" not in text
        assert "https:" not in text
        assert "default-src 'none'" in text
    for suite in ("ids", "gate"):
        assert "&lt;script&gt;alert(1)&lt;/script&gt;" in (tmp_path / f"{suite}.html").read_text()


def test_nothing_is_printed_or_changed(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    frame = scores_frame(6).astype({"flagged": "Int64"})
    frame.loc[0, "flagged"] = pd.NA
    before = frame.copy()
    validate(frame, scores_suite(), tmp_path)
    pd.testing.assert_frame_equal(frame, before)
    assert capfd.readouterr() == ("", "")
