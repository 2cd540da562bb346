"""The suites: good frames meet them, one thing that is wrong fails one of them, and the limits."""

import shutil
from pathlib import Path

import great_expectations as gx
import numpy as np
import pandas as pd
import pytest
from expectation_helpers import (
    UNDECIDED,
    N,
    accepted_suite,
    flags_frame,
    flags_suite,
    only_failure,
    raw_frame,
    raw_suite,
    samples_frame,
    with_value,
)

from expectations.fraction_limits import (
    FRACTION_LIMITS,
    ExpectPoisonFractionToBeAtMost,
    ExpectReviewFractionToBeAtMost,
)
from expectations.suites import gate_suite
from expectations.validation import validate
from gradgate.common.run_folder import RunFolder
from gradgate.config import PolicyConfig
from gradgate.gate.config import GateConfig
from gradgate.gate.pipeline import check_raw_data as check_in_core
from gradgate.gate.pipeline import fetch
from gradgate.gate.policy import decide_by_fraction, is_within_limit, is_within_review, limits_of
from gradgate.methods.contract import Question
from helpers import MODEL, write_jsonl
from tasks.validate import check_raw_data


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


CALLING = (
    "{% for m in messages %}<{{ m.role }}>{{ m.content or '' }}"
    "{% for c in m.tool_calls or [] %}{{ c.function.name }} {{ c.function.arguments | tojson }}"
    "{% endfor %}{{ eos_token }}{% endfor %}"
)


def call_rows(n: int) -> list[dict[str, object]]:
    """Answers that are calls of a tool, and say nothing else."""
    call = [{"type": "function", "function": {"name": "look_up", "arguments": {"day": 1}}}]
    return [
        {
            "messages": [
                {"role": "user", "content": f"what of town {i}?"},
                {"role": "assistant", "content": None, "tool_calls": call},
            ]
        }
        for i in range(n)
    ]


def token_rows(n: int) -> list[dict[str, object]]:
    """All of it is learnt."""
    return [{"input_ids": [5, 6, 7 + i], "labels": [5, 6, 7 + i]} for i in range(n)]


@pytest.mark.parametrize("rows", [call_rows(30), token_rows(30)], ids=["calls", "tokens"])
def test_rows_that_the_core_accepts_meet_the_suites(
    rows: list[dict[str, object]], tmp_path: Path
) -> None:
    model = Path(shutil.copytree(MODEL, tmp_path / "model"))
    (model / "chat_template.jinja").write_text(CALLING)
    source = write_jsonl(tmp_path / "rows.jsonl", rows)
    config = GateConfig.model_validate(
        {"data": {"source": str(source), "min_rows": 1}, "model": {"path": str(model)}}
    )
    run = RunFolder(tmp_path / "run")
    run.path.mkdir()
    prepared = fetch(config, run)
    assert (prepared.n_samples, prepared.n_rejected) == (30, 0)
    assert check_in_core(prepared, config, run) == []
    assert check_raw_data.fn(prepared, config, run) == []


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


def test_limit_has_no_default() -> None:
    with pytest.raises(ValueError, match="max_value"):
        ExpectPoisonFractionToBeAtMost.parse_obj({"column": "flagged"})


def test_small_limit_is_not_rounded_to_zero() -> None:
    limit = ExpectPoisonFractionToBeAtMost(column="flagged", max_value=0.0001)
    assert limit.description is not None
    assert limit.description.endswith("at most 0.01 %")
