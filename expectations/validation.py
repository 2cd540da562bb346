"""Validation that fails closed: whatever was not evaluated is an error, never a pass."""

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import great_expectations as gx
import numpy as np
import pandas as pd
from great_expectations.core import ExpectationSuiteValidationResult, ExpectationValidationResult
from great_expectations.data_context.types.base import (
    DataContextConfig,
    InMemoryStoreBackendDefaults,
    ProgressBarsConfig,
)
from great_expectations.expectations.expectation import Expectation
from great_expectations.expectations.expectation_configuration import ExpectationConfiguration

from expectations.docs import write_docs
from expectations.fraction_limits import observed_fraction
from gradgate.errors import GradgateError

_LISTED = 20  # unexpected values in the record
_IN_FAILURE = 5  # of these in the text of a failure


class UnevaluatedError(GradgateError):
    """An expectation was not evaluated, so nothing is known about the data. Final."""


@dataclass(frozen=True)
class Outcome:
    """The outcome of one expectation.

    Attributes:
        type: Which expectation, as the record names it.
        failure: None when it is met; else one line with type, column, limits, description and what
            was observed (of single values the first few, each with its label in the frame's index).
    """

    type: str
    failure: str | None

    @property
    def is_met(self) -> bool:
        """Whether the data are as expected."""
        return self.failure is None


@dataclass(frozen=True)
class ValidationReport:
    """The outcome of one suite on one frame.

    Attributes:
        outcomes: Of each expectation.
        success: Whether all of them are met.
        result: Great Expectations' record in plain JSON values; NaN and infinity are null.
    """

    suite: str
    success: bool
    outcomes: list[Outcome]
    result: dict[str, Any]

    @property
    def failures(self) -> list[str]:
        """One line for each expectation that is not met."""
        return self.failures_but_for()

    def failures_but_for(self, *others: type[Expectation]) -> list[str]:
        """The same, without those of some expectations."""
        left_out = {other.expectation_type for other in others}
        found = [outcome.failure for outcome in self.outcomes if outcome.type not in left_out]
        return [failure for failure in found if failure is not None]

    def is_met(self, expectation: type[Expectation]) -> bool:
        """Whether the data are as an expectation says that stands in the suite once.

        Raises:
            UnevaluatedError: It does not.
        """
        found = [o.is_met for o in self.outcomes if o.type == expectation.expectation_type]
        if len(found) != 1:
            name = expectation.expectation_type
            raise UnevaluatedError(f"suite {self.suite} has {len(found)} results of {name}, not 1")
        return found[0]

    def save(self, path: Path) -> None:
        """Write the record as JSON."""
        path.write_text(json.dumps(self.result, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def validate(
    frame: pd.DataFrame, suite: gx.ExpectationSuite, docs_folder: Path
) -> ValidationReport:
    """Evaluate `suite` on `frame` and add the outcome to the Data Docs in `docs_folder`.

    Several suites may be validated into one folder; its index.html lists all of them.

    Args:
        frame: One line a row; may have millions.
        suite: Built by `expectations.suites`, never reloaded.
        docs_folder: Made when missing.

    Raises:
        UnevaluatedError: The frame or the suite is empty, or an expectation raised (say, for a
            missing column) or has no result. No docs are written then.
    """
    if frame.empty:
        raise UnevaluatedError(f"suite {suite.name}: the frame has no rows, nothing can be checked")
    expected = len(suite.expectations)
    results = _evaluate(frame, suite)
    _require_evaluated(results, suite.name, expected)
    report = ValidationReport(
        suite.name,
        bool(results.success),
        [_outcome(result) for result in results.results],
        to_plain(results.to_json_dict()),
    )
    write_docs(results, report.result, docs_folder)
    return report


def to_plain(value: Any) -> Any:
    """Nested plain JSON values; NaN and infinity become None, unknown types their text."""
    if isinstance(value, dict):
        return {str(key): to_plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set):
        return [to_plain(item) for item in value]
    if isinstance(value, np.generic):
        return to_plain(value.item())
    if value is None or isinstance(value, bool | str | int):
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    return str(value)


def _evaluate(frame: pd.DataFrame, suite: gx.ExpectationSuite) -> ExpectationSuiteValidationResult:
    config = DataContextConfig(
        store_backend_defaults=InMemoryStoreBackendDefaults(init_temp_docs_sites=False),
        progress_bars=ProgressBarsConfig(globally=False, metric_calculations=False),
        analytics_enabled=False,
    )
    context = gx.get_context(mode="ephemeral", project_config=config)
    asset = context.data_sources.add_pandas("gradgate").add_dataframe_asset(suite.name)
    batch = asset.add_batch_definition_whole_dataframe("all rows").get_batch({"dataframe": frame})
    return batch.validate(
        suite,
        result_format={"result_format": "SUMMARY", "partial_unexpected_count": _LISTED},
    )


def _require_evaluated(
    results: ExpectationSuiteValidationResult, suite: str, expected: int
) -> None:
    if expected == 0:
        raise UnevaluatedError(f"suite {suite} has no expectations; it was not built in code")
    if len(results.results) != expected:
        raise UnevaluatedError(
            f"suite {suite}: {len(results.results)} results for {expected} expectations"
        )
    raised = dict.fromkeys(  # in order, without the repetitions of an expectation's metrics
        f"{_name(result)}: {message}"
        for result in results.results
        for message in _raised(result.exception_info)
    )
    if raised:
        raise UnevaluatedError(f"suite {suite} was not evaluated: " + "; ".join(raised))


def _raised(info: dict[str, Any]) -> Iterator[str]:
    """Messages of raised exceptions; `info` is one record, or one record a metric."""
    records = [info] if "raised_exception" in info else info.values()
    for record in records:
        if record["raised_exception"]:
            yield str(record["exception_message"])


def _config(result: ExpectationValidationResult) -> ExpectationConfiguration:
    if result.expectation_config is None:
        raise UnevaluatedError("a result does not say which expectation it belongs to")
    return result.expectation_config


def _name(result: ExpectationValidationResult) -> str:
    config = _config(result)
    column = config.kwargs.get("column")
    return config.type if column is None else f"{config.type}({column})"


def _outcome(result: ExpectationValidationResult) -> Outcome:
    return Outcome(_config(result).type, None if result.success else _failure(result))


def _failure(result: ExpectationValidationResult) -> str:
    config = _config(result)
    limits = [
        f"{key}={value}"
        for key, value in config.kwargs.items()
        if key not in ("column", "batch_id")
    ]
    limit = f" [{', '.join(limits)}]" if limits else ""
    what = f"{config.description}: " if config.description else ""
    return f"{_name(result)}{limit}: {what}{_observed(result.result, config.kwargs)}"


def _observed(result: dict[str, Any], limits: dict[str, Any]) -> str:
    fraction = observed_fraction(result, limits)
    if fraction is not None:
        return f"observed {fraction}"
    if "observed_value" in result:
        return f"observed {result['observed_value']}"
    labels = result["partial_unexpected_index_list"][:_IN_FAILURE]
    values = result["partial_unexpected_list"][:_IN_FAILURE]
    rows = ", ".join(f"{row}: {value!r}" for row, value in zip(labels, values, strict=True))
    more = ", ..." if result["unexpected_count"] > len(values) else ""
    return f"{result['unexpected_count']} of {result['element_count']} rows fail ({rows}{more})"
