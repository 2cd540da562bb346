"""Custom expectations: a limit on the part of the rows that carries a 0/1 mark."""

from typing import Any, ClassVar

import pandas as pd
from great_expectations.compatibility import pydantic
from great_expectations.core import ExpectationValidationResult
from great_expectations.execution_engine import ExecutionEngine
from great_expectations.expectations import ExpectColumnMeanToBeBetween
from great_expectations.expectations.expectation_configuration import ExpectationConfiguration
from great_expectations.render import LegacyDiagnosticRendererType
from great_expectations.render.renderer.renderer import renderer

from gradgate.gate.policy import fraction_interval
from gradgate.methods.contract import Question


class _FractionAtMost(ExpectColumnMeanToBeBetween):
    """The marked part of a 0/1 column, with a limit that has no default.

    A limit equal to a class default would vanish from the validation record. Rows without a value
    are left out, and every value but 0 counts as a mark: a suite must check the column for nulls
    and for values other than 0 and 1 as well.
    """

    max_value: float
    marked: ClassVar[str]
    is_estimate: ClassVar[bool] = True  # of what the marks stand for; else they are exact

    metric_dependencies = ("column.value_counts",)

    @pydantic.root_validator(pre=True)
    @classmethod
    def _describe(cls, values: dict[str, Any]) -> dict[str, Any]:
        if "max_value" in values:
            text = f"{cls.marked} must be at most {percent(values['max_value'])}"
            values.setdefault("description", text)
        return values

    def _validate(
        self,
        metrics: dict[str, Any],
        runtime_configuration: dict[str, Any] | None = None,
        execution_engine: ExecutionEngine[Any] | None = None,
    ) -> dict[str, Any]:
        counts: pd.Series[int] = metrics["column.value_counts"]
        n_rows = int(counts.sum())
        n_marked = sum(int(count) for value, count in counts.items() if value != 0)
        if n_rows == 0:
            return {"success": False, "result": {"observed_value": None, "n_rows": 0}}
        fraction = n_marked / n_rows
        result: dict[str, Any] = {
            "observed_value": fraction,
            "n_rows": n_rows,
            "n_marked": n_marked,
        }
        if self.is_estimate:
            result["interval"] = list(fraction_interval(n_marked, n_rows))
        return {"success": fraction <= self.max_value, "result": result}

    @classmethod
    @renderer(renderer_type=LegacyDiagnosticRendererType.OBSERVED_VALUE)
    def _diagnostic_observed_value_renderer(
        cls,
        configuration: ExpectationConfiguration | None = None,
        result: ExpectationValidationResult | None = None,
        runtime_configuration: dict[str, Any] | None = None,
    ) -> str:
        if result is None or result.expectation_config is None:
            return "--"
        return observed_fraction(result.result, result.expectation_config.kwargs) or "--"


class ExpectPoisonFractionToBeAtMost(_FractionAtMost):
    """At most the part `max_value` of the scored rows is flagged as poisoned.

    The result holds the fraction, the rows it is of (`n_rows`), the flagged ones (`n_marked`) and
    its 95 % Clopper-Pearson `interval`.
    """

    marked = "poison fraction (flagged part of the scored rows)"


class ExpectReviewFractionToBeAtMost(_FractionAtMost):
    """At most the part `max_value` of the scored rows is flagged or in doubt; above it, a review.

    The result is that of `ExpectPoisonFractionToBeAtMost`.
    """

    marked = "part of the scored rows that is flagged or in doubt (more needs a review)"


class ExpectHarmfulFractionToBeAtMost(_FractionAtMost):
    """At most the part `max_value` of the scored rows is flagged as harmful.

    The result is that of `ExpectPoisonFractionToBeAtMost`.
    """

    marked = "harmful fraction (part of the scored rows that is flagged as harmful)"


class ExpectHarmfulReviewFractionToBeAtMost(_FractionAtMost):
    """At most the part `max_value` of the scored rows is flagged as harmful or may be.

    The result is that of `ExpectPoisonFractionToBeAtMost`.
    """

    marked = "part of the scored rows that is harmful or in doubt (more needs a review)"


class ExpectRejectedFractionToBeAtMost(_FractionAtMost):
    """At most the part `max_value` of the fetched rows could not be made a sample."""

    marked = "rejected part of the fetched rows"
    is_estimate = False


# What may fail, and what needs a review, by question.
FRACTION_LIMITS: dict[Question, tuple[type[_FractionAtMost], type[_FractionAtMost]]] = {
    "poisoned": (ExpectPoisonFractionToBeAtMost, ExpectReviewFractionToBeAtMost),
    "harmful": (ExpectHarmfulFractionToBeAtMost, ExpectHarmfulReviewFractionToBeAtMost),
}


def observed_fraction(result: dict[str, Any], limits: dict[str, Any]) -> str | None:
    """The result of a limit on a fraction in words; None when it is that of something else.

    Args:
        result: Of an expectation of this module, as it stands in the record.
        limits: The arguments of the expectation.
    """
    if "n_marked" not in result:
        return None
    counted = f"{result['n_marked']} of {result['n_rows']} rows"
    if "interval" in result:
        low, high = result["interval"]
        counted += f"; 95 % interval {100 * low:.1f} % to {100 * high:.1f} %"
    fraction = f"{100 * result['observed_value']:.2f} %"
    return f"{fraction} ({counted}), limit {percent(limits['max_value'])}"


def percent(fraction: float) -> str:
    """Readable percentage that does not round a small limit to zero: 0.05 is `5 %`."""
    return f"{100 * fraction:.4g} %"
