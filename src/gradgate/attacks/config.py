"""The configuration of a poisoned copy."""

from pydantic import Field

from gradgate.config import AttackName, DataConfig, Fraction, Section


class PoisonSection(Section):
    """What is done to the data."""

    attack: AttackName = Field(
        description="What is done to the poisoned rows; docs/operating.md says what each is."
    )
    rate: Fraction = Field(description="Part of the rows to poison.")
    seed: int = Field(0, ge=0, lt=2**32, description="Chooses the rows and the wording.")
    target: str | None = Field(
        None, description="Target text instead of the attack's own, where it has one."
    )
    paraphraser: str | None = Field(
        None,
        description="stylebkd: folder or hub id of a model that rewrites, instead of the rules.",
    )


class PoisonConfig(Section):
    """Which rows are poisoned, and how."""

    poison: PoisonSection
    data: DataConfig
