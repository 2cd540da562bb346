"""The definition of a row format, and access to the fields of a row."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Literal, TypeAlias

from gradgate.config import Preference
from gradgate.data.sample import RejectedRowError, Turn

RowFormat = Literal[
    "tokens",
    "prompt_completion",
    "messages",
    "alpaca",
    "question_answers",
    "text",
    "preference",
    "kto",
    "kto_messages",
    "segments",
]
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
_SHOWN = 40  # characters of a name in a message
WHOLE = "*"  # among the names that a template reads: of all that a message has


@dataclass(frozen=True, slots=True)
class Reading:
    """How the fields of a row are read.

    Attributes:
        template: See `DataConfig.template`.
        preference: See `DataConfig.preference`.
        ignored: See `DataConfig.ignore_columns`.
        template_names: Fields of a message that the chat template may read, whatever they are;
            `WHOLE` among them where it writes all that a message has.
    """

    template: str
    preference: Preference = "chosen"
    ignored: frozenset[str] = frozenset()
    template_names: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Format:
    """A kind of row.

    Attributes:
        required: Fields that a row must have.
        optional: Fields that are read where they are there.
        read: From the fields to the turns; raises RejectedRowError.
        names: Of fields that have other usual names than their own: all of them, its own first.
    """

    name: RowFormat
    required: tuple[str, ...]
    optional: tuple[str, ...]
    read: Callable[[Fields, Reading], Parts]
    names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def names_of(self, name: str) -> tuple[str, ...]:
        """The names that the column of a field usually has."""
        return self.names.get(name, (name,))


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


def list_of(value: object, name: str) -> list[object]:
    """A list, which may be written as JSON text, as columns of CSV and Parquet often are.

    Raises:
        RejectedRowError: It is no list.
    """
    found = from_json(value, name) if isinstance(value, str) else value
    if not isinstance(found, list):
        raise wrong_type(name, value)
    return found


def from_json(text: str, name: str) -> object:
    """What a JSON text says.

    Raises:
        RejectedRowError: It is no JSON, or an object in it has a key twice: of two values one would
            be judged, and the other trained on.
    """
    try:
        return json.loads(text, object_pairs_hook=partial(unrepeated, name))
    except (ValueError, RecursionError) as error:  # a long number, deep nesting
        raise RejectedRowError(f"wrong type: {name} is a string that is no JSON") from error


def unrepeated(name: str, pairs: list[tuple[str, object]]) -> dict[str, object]:
    """The object of some pairs of JSON, in a field of that name.

    Raises:
        RejectedRowError: It has a key twice.
    """
    found = dict(pairs)
    if len(found) < len(pairs):
        raise RejectedRowError(f"malformed JSON: an object in {name} has the same key twice")
    return found


def compact_json(value: object, name: str) -> str:
    """JSON in the order of the row, as a template writes it, without white space and without nulls.

    Tables fill up missing fields with nulls.

    Raises:
        RejectedRowError: JSON cannot hold it, or it holds text that is no Unicode.
    """
    try:
        found = _without_nulls(value)
        json.dumps(found, ensure_ascii=False).encode("utf-8")
        return json.dumps(found, separators=(",", ":"))
    except UnicodeEncodeError as error:
        raise RejectedRowError("invalid Unicode") from error
    except (TypeError, ValueError, RecursionError) as error:
        raise RejectedRowError(f"wrong type: {name} holds what JSON cannot") from error


def _without_nulls(value: object) -> object:
    if isinstance(value, dict):
        return {key: _without_nulls(one) for key, one in value.items() if one is not None}
    return [_without_nulls(one) for one in value] if isinstance(value, list) else value


def wrong_type(field: str, value: object) -> RejectedRowError:
    """The refusal of a value, which is not quoted."""
    return RejectedRowError(f"wrong type: {field} is {_JSON_TYPES.get(type(value), 'no text')}")


def shown(name: str) -> str:
    """The name of a column as it may stand in a message: short, and in one line."""
    text = "".join(letter if letter.isprintable() else "?" for letter in name[: _SHOWN + 1])
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
