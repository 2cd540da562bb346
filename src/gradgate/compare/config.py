"""The configuration of a comparison."""

from typing import Self

from pydantic import Field, field_validator, model_validator

from gradgate.config import Section, TrackingConfig
from gradgate.errors import ConfigError
from gradgate.gate.config import GateConfig
from gradgate.methods.registry import canonical_name, method_names


class CompareSection(Section):
    """Which methods are compared, and what they are held against."""

    methods: list[str] | None = Field(
        None,
        min_length=1,
        description="Names of methods, also as one text with commas; every one when absent.",
    )
    labels: str | None = Field(
        None,
        min_length=1,
        description="Column with the truth, true or false (or 1 or 0) in every row, which no "
        "method sees; when absent poisoned and harmful, where the rows have them.",
    )
    seed: int = Field(0, ge=0, description="Seed of the bootstrap of F1 and AUROC.")

    @field_validator("methods", mode="before")
    @classmethod
    def _split(cls, given: object) -> object:
        return [name.strip() for name in given.split(",")] if isinstance(given, str) else given

    @field_validator("methods")
    @classmethod
    def _known(cls, given: list[str] | None) -> list[str] | None:
        try:
            names = None if given is None else [canonical_name(name) for name in given]
        except ConfigError as error:
            raise ValueError(str(error)) from error
        twice = sorted({name for name in names or [] if (names or []).count(name) > 1})
        if twice:
            raise ValueError(f"{', '.join(twice)} is named twice; name each method once")
        return names


class CompareConfig(GateConfig):
    """A comparison: a gate's sections for every method, and what is compared.

    `detection` says by which settings each method works; no canaries are planted.
    """

    tracking: TrackingConfig = TrackingConfig(experiment="gradgate-compare")
    compare: CompareSection = CompareSection()

    @property
    def methods(self) -> list[str]:
        """The names of the methods, in the order of the table."""
        return self.compare.methods or method_names()

    @model_validator(mode="after")
    def _labels_are_no_text(self) -> Self:
        read = self.data.columns.model_dump().values() if self.data.columns else ()
        if self.compare.labels is not None and self.compare.labels in read:
            raise ValueError(
                f"compare.labels {self.compare.labels!r} is a column that data.columns reads as "
                "text; name the column with the truth"
            )
        return self
