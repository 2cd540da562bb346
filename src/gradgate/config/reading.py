"""A configuration is read from YAML and checked; what is wrong with it is said in words."""

import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from gradgate.common.redaction import redacted
from gradgate.config.section import Section
from gradgate.errors import ConfigError

_QUOTED = 80  # characters of a value in a message

# Sections that not every command takes, with those that do.
_TAKEN_BY = {
    "adapter_test": "`gradgate test-adapter` and `python -m flows gated-finetune`",
    "finetune": "`python -m flows gated-finetune`",
    "lora": "`python -m flows gated-finetune`",
    "compare": "`gradgate compare`",
    "draw": "`gradgate draw`",
    "poison": "`gradgate poison`",
    "drill": "`python -m flows drill`",
}

SectionT = TypeVar("SectionT", bound="Section")

_NO_SECTION = ("model_type", "model_attributes_type")  # pydantic's words name Python classes
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


def load_config(path: Path, model: type[SectionT]) -> SectionT:
    """Read a YAML file and check it; errors as for `read_config` and `check_config`."""
    return check_config(read_config(path), model, str(path))


def read_config(path: Path) -> Mapping[str, Any]:
    """The sections of a YAML file, before they are checked.

    Raises:
        ConfigError: The file is missing or not YAML, says a key twice, or holds something else.
    """
    try:
        content = parse_yaml(path.read_text(encoding="utf-8")) or {}
    except OSError as error:
        raise ConfigError(f"cannot read the configuration {path}: {error.strerror}") from error
    except (UnicodeDecodeError, yaml.YAMLError, RecursionError) as error:
        why = re.sub('in "<unicode string>",', "at", " ".join(str(error).split()))
        raise ConfigError(f"cannot read the configuration {path}: {why}") from error
    if not isinstance(content, Mapping):
        raise ConfigError(f"{path} holds no sections but {type(content).__name__}")
    return content


def check_config(
    content: object,
    model: type[SectionT],
    origin: str | None,
    options: Collection[str] = (),
    typed: Mapping[str, str] | None = None,
) -> SectionT:
    """Check a configuration.

    Args:
        content: What was read.
        model: What it must be.
        origin: Where it comes from, for the message; None where all of it was typed.
        options: Dotted names of the fields that were given on the command line instead.
        typed: How fields are said on the command line, by dotted name, for those that are missing.

    Raises:
        ConfigError: A field is missing, unknown or out of bounds; the message is one line.
    """
    try:
        return model.model_validate(content)
    except ValidationError as error:
        where = "" if origin is None else f"{origin}: "
        said = (typed or {}) if origin is None else {}
        faults = [_fault(fault, model, origin is None, options, said) for fault in error.errors()]
        raise ConfigError(where + "; ".join(faults)) from error


def section_in(annotation: Any) -> type[Section] | None:
    """The section that a field holds; None where it holds a value."""
    for candidate in (annotation, *get_args(annotation)):
        if isinstance(candidate, type) and issubclass(candidate, Section):
            return candidate
    return None


def _fault(
    error: ErrorDetails,
    model: type[Section],
    is_typed: bool,
    options: Collection[str],
    typed: Mapping[str, str],
) -> str:
    """What is wrong with a field, in a line."""
    loc, given = [str(part) for part in error["loc"]], error["input"]
    name = ".".join(loc) or "the configuration"
    shown = f"--{name}" if loc and (is_typed or name in options) else name
    section = _section_at(model, loc[:-1])
    if error["type"] == "missing":
        inner = section_in(section.model_fields[loc[-1]].annotation)
        needed = inner.model_fields.items() if inner else []
        paths = [f"{name}.{field}" for field, info in needed if info.is_required()] or [name]
        names = [typed.get(path, f"--{path}" if is_typed else path) for path in paths]
        return f"{' and '.join(names)} {'are' if len(names) > 1 else 'is'} missing"
    if error["type"] == "extra_forbidden":
        takes = f"; it is for {_TAKEN_BY[name]}" if name in _TAKEN_BY else ""
        known = ", ".join(section.model_fields)
        return f"{shown} is unknown{takes}; the known ones there are {known}"
    inner = _section_at(model, loc) if error["type"] in _NO_SECTION else None
    if loc and inner is not None:
        first = next((n for n, i in inner.model_fields.items() if i.is_required()), None)
        such = f"{name}.{first or next(iter(inner.model_fields))}"
        return f"{shown} is a section, and not {_quoted(given)}; its settings stand in it: {such}"
    message = " ".join(error["msg"].removeprefix("Value error, ").split())
    if not loc and error["type"] == "value_error":  # of several sections, which it names itself
        return message
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
