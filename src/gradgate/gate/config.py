"""The configuration of a gate: the shared sections, and one for each method."""

from collections.abc import Mapping
from typing import Any, Self

from pydantic import ConfigDict, Field, ValidationError, field_validator, model_validator

from gradgate.config import (
    ApprovalsConfig,
    AttestationConfig,
    PolicyConfig,
    PowerConfig,
    SafetyConfig,
    Section,
    TrackingConfig,
)
from gradgate.errors import ConfigError
from gradgate.methods.evidence import Question
from gradgate.methods.gradsentry.config import GradsentryConfig
from gradgate.methods.gradshield.config import (
    ComplianceConfig,
    GradshieldConfig,
    GradshieldPublishedConfig,
)
from gradgate.methods.recurrence.config import RecurrenceConfig
from gradgate.methods.registry import canonical_name, method_named
from gradgate.methods.rehearsal.config import RehearsalConfig, RehearsalMode
from gradgate.scoring.config import ScoreConfig

# Where settings stood up to version 0.1, and where they stand now.
_MOVED = {
    ("threshold",): ("detection", "gradsentry", "threshold"),
    ("policy", "without_valley"): ("detection", "gradsentry", "without_valley"),
    ("detection", "power", "fewest"): ("detection", "power", "min_planted"),
    ("detection", "power", "most_rows"): ("detection", "power", "max_rows"),
}
# What the policy says of one question alone.
_LIMITS: Mapping[Question, tuple[str, str]] = {
    "poisoned": ("max_poison_fraction", "review_above"),
    "harmful": ("max_harmful_fraction", "harmful_review_above"),
}
_ONE_METHOD = ("detection", "method")  # where one question was asked
_METHODS = ("detection", "methods")
_ABSENT = object()  # null is a value, and a wrong one


class DetectionConfig(Section):
    """How samples are flagged."""

    # The sections of methods that were registered besides.
    model_config = ConfigDict(extra="allow")

    methods: list[str] = Field(
        ["recurrence"],
        min_length=1,
        description="At most one for each question, also as one text with commas. Poisoned: "
        "recurrence (strings that recur in targets or prompts and that the untuned model does not "
        "expect there) or gradsentry (spectral entropy above tau, as published). Harmful: "
        "compliance (replies to prompts that the model refuses) or gradshield (training on it "
        "makes the model refuse less).",
    )
    reference: str | None = Field(
        None,
        min_length=1,
        description="recurrence and gradshield: a trusted dataset (file, folder or hub id) of the "
        "same kind, with the same columns; what it has as well is no poison, and honest rows lie "
        "as its samples do.",
    )
    reference_epochs: int = Field(
        5,
        ge=0,
        description="recurrence: passes of a short training on halves of the reference; rows that "
        "it contradicts more often than the reference's other half are in doubt, and strings of "
        "prompts whose rows it expects are not. 0: none.",
    )
    rehearsal: RehearsalMode | None = Field(
        None,
        description="recurrence: fine-tune briefly on a part of the rows, and ask what that "
        "teaches about the others. off; doubtful: where groups are in doubt; full: about all "
        "groups. When absent: doubtful in front of a fine-tuning, off in a gate alone.",
    )
    rehearsals: RehearsalConfig = RehearsalConfig()
    gradsentry: GradsentryConfig = GradsentryConfig()
    compliance: ComplianceConfig = ComplianceConfig()
    gradshield: GradshieldConfig = GradshieldConfig()
    gradshield_published: GradshieldPublishedConfig = GradshieldPublishedConfig()
    recurrence: RecurrenceConfig = RecurrenceConfig()
    power: PowerConfig = PowerConfig()

    @field_validator("methods", mode="before")
    @classmethod
    def _split(cls, given: object) -> object:
        """Names may also come as one text with commas, as they are typed."""
        if not isinstance(given, list) or not all(isinstance(name, str) for name in given):
            return given
        return [name.strip() for text in given for name in text.split(",")]

    @field_validator("methods")
    @classmethod
    def _known(cls, methods: list[str]) -> list[str]:
        try:
            found = [canonical_name(name) for name in methods]
        except ConfigError as error:
            raise ValueError(str(error)) from error
        _require_one_each(found)
        return found

    @model_validator(mode="after")
    def _only_registered(self) -> Self:
        for name in self.model_extra or {}:
            try:
                is_section = canonical_name(name) == name
            except ConfigError:
                is_section = False
            if not is_section:
                known = ", ".join(type(self).model_fields)
                raise ValueError(f"{name} is unknown; the known ones there are {known}")
            try:
                self.settings_of(name)
            except ValidationError as error:
                raise ValueError(_faults(error, name)) from error
        return self

    @model_validator(mode="after")
    def _reference_is_taken(self) -> Self:
        if self.reference is None:
            return self
        if not any(method_named(name).takes_reference for name in self.methods):
            named = " and ".join(self.methods)
            takes = "take" if len(self.methods) > 1 else "takes"
            raise ValueError(f"method {named} {takes} no detection.reference; leave it out")
        return self

    @model_validator(mode="after")
    def _rehearsal_is_taken(self) -> Self:
        if self.rehearsal in (None, "off"):
            return self
        if not any(method_named(name).is_rehearsed for name in self.methods):
            named = " and ".join(self.methods)
            raise ValueError(
                f"nothing of method {named} is rehearsed; leave detection.rehearsal out, or name "
                "recurrence in detection.methods"
            )
        return self

    def settings_of(self, method: str) -> Section:
        """The section of a method; its defaults where there is none."""
        is_field = method in type(self).model_fields
        given = getattr(self, method) if is_field else (self.model_extra or {}).get(method, {})
        settings: Section = method_named(method).settings.model_validate(given)
        return settings


def _require_one_each(methods: list[str]) -> None:
    """Check that no two methods answer the same question; one alone is not even imported."""
    by_question: dict[str, str] = {}
    for name in methods if len(methods) > 1 else []:
        question = method_named(name).question
        if question in by_question:
            raise ValueError(
                f"{by_question[question]} and {name} answer the same question (are there "
                f"{question} rows?); name one of them"
            )
        by_question[question] = name


def _faults(error: ValidationError, section: str) -> str:
    """What is wrong with a section of a registered method, field by field."""
    return "; ".join(
        f"{'.'.join([section, *map(str, fault['loc'])])}: {fault['msg']}"
        for fault in error.errors()
    )


class GateConfig(ScoreConfig):
    """Everything a gate run needs."""

    safety: SafetyConfig = SafetyConfig()
    detection: DetectionConfig = DetectionConfig()
    policy: PolicyConfig = PolicyConfig()
    approvals: ApprovalsConfig = ApprovalsConfig()
    attestation: AttestationConfig = AttestationConfig()
    tracking: TrackingConfig = TrackingConfig()

    @property
    def rehearsal(self) -> RehearsalMode:
        """See `detection.rehearsal`."""
        return self.detection.rehearsal or "off"

    @property
    def rehearsals(self) -> RehearsalConfig:
        """How much a rehearsal may train."""
        return self.detection.rehearsals

    @model_validator(mode="after")
    def _probes_are_read(self) -> Self:
        if self.safety.probes is None:
            return self
        if not any(method_named(name).needs_safety for name in self.detection.methods):
            named = " and ".join(self.detection.methods)
            raise ValueError(
                f"safety.probes is for methods that ask for harmful rows, and {named} reads none; "
                "leave it out, or name compliance or gradshield in detection.methods"
            )
        return self

    @model_validator(mode="after")
    def _limits_are_asked_for(self) -> Self:
        """A limit of a question that nobody asks would be believed to hold."""
        fields = type(self.policy).model_fields
        for question, names in _LIMITS.items():
            idle = [n for n in names if getattr(self.policy, n) != fields[n].default]
            asked = {method_named(name).question for name in self.detection.methods if idle}
            if idle and question not in asked:
                raise ValueError(
                    f"policy.{idle[0]} limits {question} rows, and no method in detection.methods "
                    f"({', '.join(self.detection.methods)}) asks for those; leave it out, or name "
                    "one that does"
                )
        return self

    @model_validator(mode="before")
    @classmethod
    def _moved(cls, values: object) -> object:
        """Take settings from where they stood before."""
        return cls.with_todays_keys(values) if isinstance(values, Mapping) else values

    @classmethod
    def with_todays_keys(cls, content: Mapping[str, Any]) -> Mapping[str, Any]:
        """See `Section.with_todays_keys`."""
        content = {**moved(content, _MOVED)}
        method = _take(content, _ONE_METHOD)
        if method is not _ABSENT:
            _put(content, _METHODS, [method], ".".join(_ONE_METHOD))
        return content


def moved(
    content: Mapping[str, Any], places: Mapping[tuple[str, ...], tuple[str, ...]]
) -> Mapping[str, Any]:
    """A copy with the settings of the old places at the new ones.

    Raises:
        ValueError: A setting stands at its old and at its new place.
    """
    content = {**content}
    for old, new in places.items():
        found = _take(content, old)
        if found is not _ABSENT:
            _put(content, new, found, ".".join(old))
    return content


def _take(content: dict[str, Any], path: tuple[str, ...]) -> Any:
    """Take a value out of nested mappings, copying them; `_ABSENT` when it is not there."""
    *parents, last = path
    for name in parents:
        inner = content.get(name)
        if not isinstance(inner, Mapping):
            return _ABSENT
        content[name] = content = {**inner}
    return content.pop(last, _ABSENT)


def _put(content: dict[str, Any], path: tuple[str, ...], value: Any, old: str) -> None:
    *parents, last = path
    for name in parents:
        inner = content.get(name, {})
        if not isinstance(inner, Mapping):
            raise ValueError(f"{old} stands at {'.'.join(path)} now; say it there alone")
        content[name] = content = {**inner}
    if last in content:
        raise ValueError(f"{old} and {'.'.join(path)} are the same; leave {old} out")
    content[last] = value
