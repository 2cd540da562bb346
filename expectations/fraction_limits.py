"""Custom expectations: a limit on the part of the rows that carries a 0/1 mark."""

from typing import Any, ClassVar

from great_expectations.compatibility import pydantic
from great_expectations.core import ExpectationValidationResult
from great_expectations.expectations import ExpectColumnMeanToBeBetween
from great_expectations.expectations.expectation_configuration import ExpectationConfiguration
from great_expectations.render import LegacyDiagnosticRendererType
from great_expectations.render.renderer.renderer import renderer


class _FractionAtMost(ExpectColumnMeanToBeBetween):
    """The mean of a 0/1 column, with a limit that has no default.

    A limit equal to a class default would vanish from the validation record. The mean leaves NaN
    out: a suite must check the column for nulls and for values other than 0 and 1 as well.
    """

    max_value: float
    marked: ClassVar[str]

    @pydantic.root_validator(pre=True)
    @classmethod
    def _describe(cls, values: dict[str, Any]) -> dict[str, Any]:
        if "max_value" in values:
            text = f"{cls.marked} must be at most {percent(values['max_value'])}"
            values.setdefault("description", text)
        return values

    @classmethod
    @renderer(renderer_type=LegacyDiagnosticRendererType.OBSERVED_VALUE)
    def _diagnostic_observed_value_renderer(
        cls,
        configuration: ExpectationConfiguration | None = None,
        result: ExpectationValidationResult | None = None,
        runtime_configuration: dict[str, Any] | None = None,
    ) -> str:
        if result is None or result.result.get("observed_value") is None:
            return "--"
        return percent(result.result["observed_value"])


class ExpectPoisonFractionToBeAtMost(_FractionAtMost):
    """At most the part `max_value` of the scored rows is flagged as poisoned."""

    marked = "poison fraction (flagged part of the scored rows)"


class ExpectRejectedFractionToBeAtMost(_FractionAtMost):
    """At most the part `max_value` of the fetched rows could not be made a sample."""

    marked = "rejected part of the fetched rows"


def percent(fraction: float) -> str:
    """Readable percentage that does not round a small limit to zero: 0.05 is `5 %`."""
    return f"{100 * fraction:.4g} %"
