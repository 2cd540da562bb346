"""Validating a frame: what could not be evaluated is an error, and what is kept of the results."""

import json
import subprocess
import sys
from dataclasses import FrozenInstanceError
from datetime import datetime
from pathlib import Path

import great_expectations as gx
import great_expectations.expectations as gxe
import numpy as np
import pandas as pd
import pytest
from expectation_helpers import (
    UNDECIDED,
    N,
    accepted_suite,
    flags_frame,
    flags_suite,
    raw_frame,
    raw_suite,
    samples_frame,
    with_value,
)

from expectations.fraction_limits import ExpectPoisonFractionToBeAtMost
from expectations.validation import UnevaluatedError, to_plain, validate
from gradgate.gate.policy import fraction_interval

SCRIPT = "<script>alert(1)</script>"


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
