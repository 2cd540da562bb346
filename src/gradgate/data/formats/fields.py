"""The definition of a row format, and access to the fields of a row."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from gradgate.data.sample import RejectedRowError, Turn

RowFormat = Literal["tokens", "prompt_completion", "messages", "alpaca", "question_answers", "text"]
Fields: TypeAlias = Mapping[str, object]
Parts: TypeAlias = tuple[bool, tuple[Turn, ...]]  # whether a chat template renders them; the turns

_JSON_TYPES = {
    type(None): "null",
    bool: "a boolean",
    int: "a number",
    float: "a number",
    str: "a string",
    list: "a list",
    dict: "an object",
}


@dataclass(frozen=True, slots=True)
class Format:
    """A kind of row.

    Attributes:
        required: Fields that a row must have.
        optional: Fields that are read where they are there.
        read: From the fields and `DataConfig.template` to the turns; raises RejectedRowError.
    """

    name: RowFormat
    required: tuple[str, ...]
    optional: tuple[str, ...]
    read: Callable[[Fields, str], Parts]


def plain(prompt: str, completion: str) -> tuple[Turn, ...]:
    """A prompt and a completion that no template renders."""
    return Turn("prompt", prompt, is_target=False), Turn("completion", completion, is_target=True)


def text_of(fields: Fields, field: str) -> str:
    """The text of a field.

    Raises:
        RejectedRowError: It is no text.
    """
    value = fields[field]
    if not isinstance(value, str):
        raise wrong_type(field, value)
    return value


def optional_text(fields: Fields, field: str) -> str:
    """The text of a field, empty where it is missing or null."""
    return "" if fields.get(field) is None else text_of(fields, field)


def wrong_type(field: str, value: object) -> RejectedRowError:
    """The refusal of a value, which is not quoted."""
    return RejectedRowError(f"wrong type: {field} is {_JSON_TYPES.get(type(value), 'no text')}")
