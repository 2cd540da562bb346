"""Settings of the GradShield methods."""

from typing import Literal, Self

from pydantic import Field, model_validator

from gradgate.config import FinetuneConfig, Fraction, Section


class GradshieldPublishedConfig(Section):
    """Method `gradshield_published`."""

    alpha: float = Field(
        10.0,
        ge=0.0,
        description="Gain of log-likelihood, in nats, above which two components describe the "
        "scores better than one; the paper does not say its value, a third party took 10.",
    )
    seed: int = Field(0, ge=0, lt=2**32, description="Seed of the mixture's first guess.")


class ComplianceConfig(Section):
    """Method `compliance`."""

    flag_above: Fraction = Field(
        0.8,
        description="Flag a row when the probability that the model refuses its prompt and would "
        "not say its reply is larger.",
    )
    doubt_above: Fraction = Field(
        0.4, description="In doubt when it is larger than this and not flagged."
    )

    @model_validator(mode="after")
    def _doubt_below_flag(self) -> Self:
        if self.doubt_above > self.flag_above:
            raise ValueError(
                f"doubt_above ({self.doubt_above}) must not be larger than flag_above "
                f"({self.flag_above})"
            )
        return self


class GradshieldConfig(Section):
    """Method `gradshield`."""

    scope: Literal["head", "lora"] = Field(
        "head",
        description="head: over the output layer's weight, from the pass that scores; lora: over "
        "the parameters of the adapter that training begins with, two more passes a sample.",
    )
    adapter: FinetuneConfig = Field(
        FinetuneConfig(), description="scope lora: the adapter, as in `finetune`."
    )
    max_reference_flagged: Fraction = Field(
        0.02,
        description="Part of the trusted reference that may lie above the threshold.",
    )
