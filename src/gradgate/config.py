"""The configuration: one pydantic model is UI form, API schema and YAML file at once."""

import string
from collections.abc import Collection, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_core import ErrorDetails

from gradgate.common.patterns import compile_pattern
from gradgate.common.redaction import redacted
from gradgate.errors import ConfigError

_QUOTED = 80  # characters of a value in a message

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]

AttackName = Literal[
    "badnets",
    "addsent",
    "cba",
    "stylebkd",
    "replaced",
    "refusal",
    "long",
    "paraphrased",
    "clean_label",
    "adaptive",
    "title_case",
    "carriage_return",
    "blank_line",
    "white_space",
    "word_order",
    "repeated_word",
    "many_words",
    "homoglyph",
    "invisible",
    "existing_label",
    "short_target",
    "echo",
    "leaked",
    "varied_target",
    "wrong_answer",
    "no_trigger",
    "copies",
    "diluted",
    "decoys",
    "combo",
]

Preference = Literal["chosen", "rejected", "both"]

InDoubt = Literal["keep", "quarantine", "block"]

SectionT = TypeVar("SectionT", bound="Section")

# For chat templates that print today's date: always the same one, so that no score changes by it.
DEFAULT_TEMPLATE_DATE = "2025-01-01"

DEFAULT_TEMPLATE = "{context}\n\nQuestion: {question}\nAnswer: "


class Section(BaseModel):
    """Refuses unknown keys and other types: a misspelt limit is an error and never ignored."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, strict=True)

    @classmethod
    def with_todays_keys(cls, content: Mapping[str, Any]) -> Mapping[str, Any]:
        """The content of a file of an earlier version, with settings where they stand now.

        Raises:
            ValueError: A setting stands at its old and at its new place.
        """
        return content


class Columns(Section):
    """Explicit column names; set those of one row format and leave the others out."""

    prompt: str | None = Field(None, description="Column with the prompt (string or messages).")
    completion: str | None = Field(
        None, description="Column with the completion (string or messages)."
    )
    messages: str | None = Field(
        None, description="Column with a list of chat messages, in OpenAI's or ShareGPT's spelling."
    )
    text: str | None = Field(None, description="Column with plain text, all of it the target.")
    instruction: str | None = Field(None, description="Alpaca: column with the instruction.")
    input: str | None = Field(
        None, description="Alpaca and preference pairs: column with the optional input."
    )
    output: str | None = Field(None, description="Alpaca: column with the output.")
    question: str | None = Field(None, description="Column with the question.")
    answers: str | None = Field(None, description="Column with the answer or list of answers.")
    context: str | None = Field(None, description="Column with the context of the question.")
    chosen: str | None = Field(None, description="Preference pairs: column with the better answer.")
    rejected: str | None = Field(
        None, description="Preference pairs: column with the worse answer."
    )
    label: str | None = Field(
        None, description="KTO: column that says whether the completion is wanted."
    )
    segments: str | None = Field(
        None, description="Column with axolotl's segments, each a text and a label."
    )
    system: str | None = Field(None, description="Column with the system prompt of a chat.")
    history: str | None = Field(None, description="Column with the earlier rounds of a chat.")


class Limits(Section):
    """What a source may ask of the machine; beyond it the source is an error."""

    row_mib: int = Field(
        16,
        ge=1,
        le=1024,
        description="Largest line, cell or row, in MiB; as much white space between two rows.",
    )
    expansion: int = Field(
        200,
        ge=1,
        description="A compressed file or table may grow to so many times its size, or to 256 MiB.",
    )
    columns: int = Field(1000, ge=1, description="Most columns of a table, or keys of a row.")


class DataConfig(Section):
    """Where the rows come from and how they become samples."""

    source: str = Field(
        min_length=1,
        description="Hub id, JSONL/JSON/CSV/TSV/Parquet/Arrow file or folder (local path or "
        "fsspec URL), or a save_to_disk folder.",
    )
    name: str | None = Field(
        None, description="Configuration name, of the hub or of a folder's README.md."
    )
    split: str | None = Field(
        None,
        description="Split of a hub dataset, of a folder laid out like one, or of a save_to_disk "
        "folder; needed if it has several. all: every file of a folder.",
    )
    revision: str | None = Field(None, description="Hub: branch, tag or commit.")
    delimiter: str | None = Field(
        None,
        description="CSV: what stands between two cells, one character or tab; found in the first "
        "line when absent.",
    )
    expected_rows: int | None = Field(
        None,
        ge=1,
        description="Rows that the source must have, rejected ones too; in place of the number "
        "that its metadata says.",
    )
    limits: Limits = Limits()
    columns: Columns | None = Field(
        None, description="Explicit column names; the row format is detected when absent."
    )
    ignore_columns: list[str] = Field(
        [],
        description="Columns, and fields of messages, that training does not read though their "
        "names say that it might.",
    )
    preference: Preference = Field(
        "chosen",
        description="Which answers of preference pairs, or completions of KTO by their label, are "
        "the targets. both: of KTO alone.",
    )
    template: str = Field(
        DEFAULT_TEMPLATE,
        description="Prompt of question/answers rows; may use {question} and {context}.",
    )
    template_date: str = Field(
        DEFAULT_TEMPLATE_DATE,
        description="Today, YYYY-MM-DD, for a chat template that prints the date; fixed, so that "
        "no sample changes overnight.",
    )
    max_tokens: int = Field(
        2048, ge=2, description="Longer samples (prompt + target, in tokens) are rejected."
    )
    max_rejected_fraction: Fraction = Field(
        0.01, description="The raw-data check fails when a larger part of the rows is rejected."
    )
    min_rows: int = Field(1, ge=1, description="The raw-data check fails below this many samples.")

    @field_validator("template_date")
    @classmethod
    def _is_a_date(cls, written: str) -> str:
        try:
            date.fromisoformat(written)
        except ValueError as error:
            raise ValueError(f"data.template_date {written!r} is no date YYYY-MM-DD") from error
        return written

    @field_validator("delimiter")
    @classmethod
    def _one_character(cls, delimiter: str | None) -> str | None:
        delimiter = "\t" if delimiter in ("tab", "\\t") else delimiter
        if delimiter is not None and (len(delimiter) != 1 or delimiter in '"\r\n\0'):
            raise ValueError("data.delimiter is one character, no quote and no line end, or tab")
        return delimiter

    @field_validator("template")
    @classmethod
    def _only_question_and_context(cls, template: str) -> str:
        # Malformed braces raise ValueError here. A field is a bare name, so that no attribute of
        # a value can be reached from a template.
        parts = [part for part in string.Formatter().parse(template) if part[1] is not None]
        if any(part[1:] not in {("question", "", None), ("context", "", None)} for part in parts):
            raise ValueError("data.template may use {question} and {context} and no other field")
        if not any(part[1] == "question" for part in parts):
            raise ValueError("data.template must contain {question}")
        return template


class ModelConfig(Section):
    """The model that scores, which is also the one that is fine-tuned."""

    path: str = Field(min_length=1, description="Hub id or folder of a causal language model.")
    revision: str | None = Field(None, description="Hub: branch, tag or commit.")
    adapter: str | None = Field(None, description="Folder or hub id of a LoRA adapter to load.")
    device: str = Field("auto", description="auto, cpu, cuda or cuda:N.")
    dtype: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="auto: bfloat16 where the GPU or CPU multiplies it, float32 elsewhere."
    )


class ScoringConfig(Section):
    """Spectral entropy of the output-layer gradient (GradSentry, arXiv 2605.26574)."""

    mode: Literal["crop", "full"] = Field(
        "crop",
        description="crop: the published [:V//8, :d//8] block of the gradient; full: all of it.",
    )
    k: int = Field(16, ge=2, le=1024, description="Number of leading singular values.")
    batch_tokens: int | None = Field(
        None,
        ge=1,
        description="Tokens in a step of the model; by free memory when absent.",
    )
    store: bool = Field(
        True, description="Keep scores in the state folder and score only what is new or changed."
    )
    store_max_mib: int | None = Field(
        4096,
        ge=1,
        description="Beyond this size the scores not used for longest are dropped; null: never.",
    )


class SafetyConfig(Section):
    """The probing set that the safety of the model is measured by."""

    probes: str | None = Field(
        None,
        min_length=1,
        description="JSON file with a probing set of your own; the built-in one when absent.",
    )


class PowerConfig(Section):
    """Canaries: known attacks planted in a scored copy, to say what the gate can see."""

    attacks: list[AttackName] = Field(
        [
            *("badnets", "cba", "stylebkd", "paraphrased", "clean_label"),
            *("title_case", "many_words", "existing_label", "leaked", "no_trigger"),
        ],
        description="Attacks to plant; none: no canaries. The default has one for each way to "
        "hide, so that the cost is bounded: a fixed target, cues at two places, a style, many "
        "wordings, answers that are right anyway, a trigger without words, many triggers, a target "
        "that honest rows have, a trigger that they have, and none.",
    )
    min_planted: int = Field(
        12,
        ge=1,
        description="Samples that an attack is planted in at first; then 3 and 10 times as many.",
    )
    max_rows: int = Field(
        2_000, ge=1, description="Canaries are planted in a part of so many rows of a larger set."
    )
    seed: int = Field(0, ge=0, description="Chooses the rows.")


class PolicyConfig(Section):
    """What the gate decides."""

    max_poison_fraction: Fraction = Field(
        0.05, description="fail when the flagged part of the scored rows is larger."
    )
    review_above: Fraction = Field(
        0.02,
        description="review when the part of the scored rows that is flagged or in doubt is "
        "larger; what is quarantined is limited by review_above.",
    )
    max_harmful_fraction: Fraction = Field(
        0.05, description="As max_poison_fraction, for rows that are flagged as harmful."
    )
    harmful_review_above: Fraction = Field(
        0.02, description="As review_above, for rows that are harmful or may be."
    )
    flagged: Literal["drop", "block"] = Field(
        "drop",
        description="drop: fine-tune without the flagged samples; block: any flagged sample fails.",
    )
    in_doubt: InDoubt = Field(
        "quarantine",
        description="quarantine: fine-tune without the rows in doubt; keep: with them; block: any "
        "row in doubt needs a review.",
    )
    max_copies: int | None = Field(
        3,
        ge=1,
        description="Fine-tune on at most so many copies of a text, verbatim or but for case, "
        "white space and punctuation; further ones are in doubt; null: on all.",
    )
    expected: list[str] = Field(
        [],
        description="Texts that the owner vouches for, such as a fixed closing line; /.../ is a "
        "regular expression.",
    )

    @field_validator("expected")
    @classmethod
    def _patterns(cls, expected: list[str]) -> list[str]:
        for written in expected:
            compile_pattern(written)
        return expected

    @model_validator(mode="after")
    def _review_below_max(self) -> Self:
        for review, most in (
            ("review_above", "max_poison_fraction"),
            ("harmful_review_above", "max_harmful_fraction"),
        ):
            if getattr(self, review) > getattr(self, most):
                raise ValueError(
                    f"policy.{review} ({getattr(self, review)}) must not be larger than "
                    f"policy.{most} ({getattr(self, most)})"
                )
        return self


class TrackingConfig(Section):
    """The audit trail in MLflow."""

    uri: str | None = Field(
        None, description="MLflow tracking URI; a sqlite file in the state folder when absent."
    )
    experiment: str = Field("gradgate", min_length=1, description="MLflow experiment.")


class FinetuneConfig(Section):
    """Fine-tuning by transformers' Trainer; defaults are GradSentry's settings."""

    kind: Literal["lora", "full"] = Field(
        "lora",
        description="lora: train a LoRA adapter by peft; full: train every parameter, and save "
        "the whole model.",
    )
    r: int = Field(4, ge=1, description="lora: rank of the update.")
    alpha: int = Field(8, ge=1, description="lora: scale of the update.")
    dropout: Fraction = Field(0.0, description="lora: dropout on the adapter's input.")
    target_modules: list[str] | Literal["all-linear"] = Field(
        "all-linear",
        description="lora: names of the adapted modules, or all-linear: the linear layers of the "
        "decoder but for the head, routers, and those of Mamba that only a fused kernel reads.",
    )
    epochs: float = Field(3.0, gt=0, description="Passes over the accepted samples.")
    learning_rate: float = Field(2e-5, gt=0, description="Peak learning rate.")
    batch_size: int = Field(4, ge=1, description="Samples per step.")
    seed: int = Field(0, ge=0, lt=2**32, description="Seed of initialisation, dropout and order.")

    @model_validator(mode="after")
    def _no_adapter_settings(self) -> Self:
        """A rank that nothing has would be believed to be in use."""
        fields = {name: type(self).model_fields[name].default for name in LORA_SETTINGS}
        idle = [name for name, default in fields.items() if getattr(self, name) != default]
        if self.kind == "full" and idle:
            raise ValueError(
                f"kind full trains every parameter and has no adapter; leave {', '.join(idle)} "
                "out, or set kind to lora"
            )
        return self


LORA_SETTINGS = ("r", "alpha", "dropout", "target_modules")


_MERGE = "tag:yaml.org,2002:merge"


class _UniqueKeys(yaml.SafeLoader):
    """YAML takes the last of two equal keys; a policy that says two things is an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        own = (key for key, _ in node.value if key.tag != _MERGE)  # what is merged is overridden
        keys = [self.construct_object(key, deep=True) for key in own]
        twice = sorted({str(key) for key in keys if keys.count(key) > 1})
        if twice:
            raise yaml.YAMLError(f"{node.start_mark}: given twice: {', '.join(twice)}")
        return super().construct_mapping(node, deep)


def parse_yaml(text: str) -> Any:
    """The value that a YAML text says.

    Raises:
        yaml.YAMLError: It is not YAML, or says a key twice.
    """
    return yaml.load(text, _UniqueKeys)  # noqa: S506 - a SafeLoader


def read_config(path: Path) -> Any:
    """The content of a YAML file, before it is checked.

    Raises:
        ConfigError: The file is missing or not YAML, or says a key twice.
    """
    try:
        return parse_yaml(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError) as error:
        why = " ".join(str(error).split())
        raise ConfigError(f"cannot read the configuration {path}: {why}") from error


def check_config(
    content: object, model: type[SectionT], origin: str | None, options: Collection[str] = ()
) -> SectionT:
    """Check a configuration.

    Args:
        content: What was read.
        model: What it must be.
        origin: Where it comes from, for the message; None where all of it was typed.
        options: Dotted names of the fields that were given on the command line instead.

    Raises:
        ConfigError: A field is missing, unknown or out of bounds; the message is one line.
    """
    try:
        return model.model_validate(content)
    except ValidationError as error:
        where = "" if origin is None else f"{origin}: "
        faults = [_fault(fault, model, origin is None, options) for fault in error.errors()]
        raise ConfigError(where + "; ".join(faults)) from error


def section_in(annotation: Any) -> type[Section] | None:
    """The section that a field holds; None where it holds a value."""
    for candidate in (annotation, *get_args(annotation)):
        if isinstance(candidate, type) and issubclass(candidate, Section):
            return candidate
    return None


def _fault(
    error: ErrorDetails, model: type[Section], is_typed: bool, options: Collection[str]
) -> str:
    """What is wrong with a field, in a line."""
    loc, given = [str(part) for part in error["loc"]], error["input"]
    name = ".".join(loc) or "the configuration"
    shown = f"--{name}" if loc and (is_typed or name in options) else name
    section = _section_at(model, loc[:-1])
    if error["type"] == "missing":
        inner = section_in(section.model_fields[loc[-1]].annotation)
        needed = inner.model_fields.items() if inner else []
        names = [f"{shown}.{field}" for field, info in needed if info.is_required()]
        return f"{' and '.join(names) or shown} is missing"
    if error["type"] == "extra_forbidden":
        return f"{shown} is unknown; the known ones there are {', '.join(section.model_fields)}"
    message = " ".join(error["msg"].removeprefix("Value error, ").split())
    is_named = error["type"] == "value_error" or not isinstance(given, str | int | float | None)
    return f"{shown}: {message}" if is_named else f"{shown}: {message}, not {_quoted(given)}"


def _quoted(value: object) -> str:
    """A value in a message: short, and without the credentials of a URL."""
    text = redacted(repr(value))
    return text if len(text) <= _QUOTED else f"{text[:_QUOTED]}..."


def _section_at(model: type[Section], loc: Sequence[str]) -> type[Section]:
    """The section at a place in the configuration, or the last one on the way to a value."""
    section = model
    for name in loc:
        info = section.model_fields.get(name)
        section = section_in(info.annotation if info else None) or section
    return section
