"""Settings of the GradShield methods."""

from pydantic import Field

from gradgate.config import Section


class GradshieldPublishedConfig(Section):
    """Method `gradshield_published`."""

    alpha: float = Field(
        10.0,
        ge=0.0,
        description="Gain of log-likelihood, in nats, above which two components describe the "
        "scores better than one; the paper does not say its value, a third party took 10.",
    )
    seed: int = Field(0, ge=0, lt=2**32, description="Seed of the mixture's first guess.")
