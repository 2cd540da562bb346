"""Settings of method `gradsentry`."""

from typing import Literal, Self

from pydantic import Field, model_validator

from gradgate.config import Fraction, Section

UnreliableState = Literal[
    "too_few", "degenerate", "no_valley", "close_peaks", "few_above", "weak_valley"
]
StateAction = Literal["review", "fail", "pass", "published_constant"]


class ThresholdConfig(Section):
    """How tau is chosen; a sample above tau is flagged."""

    method: Literal["kde_valley", "fixed"] = Field(
        "kde_valley", description="kde_valley: valley of the density; fixed: `value`."
    )
    value: Fraction | None = Field(None, description="tau of the fixed method.")
    bootstrap: int = Field(
        200, ge=0, le=10_000, description="Bootstrap replicates for the interval of tau."
    )
    seed: int = Field(0, ge=0, lt=2**32, description="Seed of the bootstrap.")

    @model_validator(mode="after")
    def _value_belongs_to_fixed(self) -> Self:
        if (self.method == "fixed") != (self.value is not None):
            raise ValueError("threshold.value goes with method: fixed, and only with it")
        return self


class GradsentryConfig(Section):
    """Method `gradsentry`."""

    threshold: ThresholdConfig = ThresholdConfig()
    without_valley: dict[UnreliableState, StateAction] = Field(
        default_factory=dict,
        description="What to do for each threshold state without a reliable valley; review for "
        "a state that is not named. published_constant: use tau = 0.7.",
    )
