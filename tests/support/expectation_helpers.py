"""What the tests of the expectations share: good frames, and the suites that they meet."""

from typing import Any

import great_expectations as gx
import numpy as np
import pandas as pd

from expectations.suites import gate_suite, raw_data_suite, samples_suite
from expectations.validation import ValidationReport
from gradgate.config import PolicyConfig
from gradgate.gate.policy import limits_of

N = 100


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
