"""The configuration of a comparison."""

from typing import Self

from pydantic import Field, field_validator, model_validator

from gradgate.config import Section, TrackingConfig
from gradgate.errors import ConfigError
from gradgate.gate.config import DetectionConfig, GateConfig
from gradgate.methods.registry import canonical_name, method_names


class CompareSection(Section):
    """What the methods are held against."""

    labels: str | None = Field(
        None,
        min_length=1,
        description="Column with the truth, true or false (or 1 or 0) in every row, which no "
        "method sees; when absent poisoned and harmful, where the rows have them.",
    )
    seed: int = Field(0, ge=0, lt=2**32, description="Seed of the bootstrap of F1 and AUROC.")


class ComparedMethods(DetectionConfig):
    """The methods that are compared, and the settings that each works by; no canaries."""

    methods: list[str] = Field(
        default_factory=method_names,
        min_length=1,
        description="Names of methods, also as one text with commas; every one when absent. "
        "Several may answer the same question.",
    )

    @field_validator("methods")
    @classmethod
    def _known(cls, methods: list[str]) -> list[str]:
        try:
            names = [canonical_name(name) for name in methods]
        except ConfigError as error:
            raise ValueError(str(error)) from error
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"{', '.join(twice)} is named twice; name each method once")
        return names


class CompareConfig(GateConfig):
    """A comparison: a gate's sections for every method, and what the methods are held against."""

    detection: ComparedMethods = Field(default_factory=ComparedMethods)
    tracking: TrackingConfig = TrackingConfig(experiment="gradgate-compare")
    compare: CompareSection = CompareSection()

    @model_validator(mode="after")
    def _labels_are_no_text(self) -> Self:
        read = self.data.columns.model_dump().values() if self.data.columns else ()
        if self.compare.labels is not None and self.compare.labels in read:
            raise ValueError(
                f"compare.labels {self.compare.labels!r} is a column that data.columns reads as "
                "text; name the column with the truth"
            )
        return self
