"""Rows of JSON in the shapes that people have; a row that cannot be read stays a row."""

import io
import json
from collections.abc import Iterator, Mapping

from gradgate.config import Columns, Limits
from gradgate.data.rows.json_text import JsonDecoder, JsonText, TooLargeError
from gradgate.data.rows.row import RawRow, checked_utf8
from gradgate.errors import DataError

# Keys of a row: an object with one of them is no wrapper around a list of rows.
_ROW_KEYS = frozenset(
    [
        *(*Columns.model_fields, "conversations", "conversation", "segments", "history", "tools"),
        *("chosen", "rejected", "response", "query", "answer"),
    ]
)
_TURN_KEYS = (
    {"role", "content"},
    {"from", "value"},
)  # of a message, so its list is no list of rows
_LAST_CHARACTERS = 2  # of a line: where an error says that the line ends before its value does


def read_json(
    stream: io.BufferedReader, path: str, numbers: Iterator[int], limits: Limits, is_lines: bool
) -> Iterator[RawRow]:
    """Read JSON: lines, an array, objects over several lines, or a list within an object.

    The first value decides. Several objects on a line are several rows.

    Args:
        stream: UTF-8 without a byte order mark.
        path: The file as errors name it, without credentials.
        numbers: Of the rows.
        limits: Those of the configuration.
        is_lines: Its name says lines: the first of them may be an array that is no row.

    Raises:
        DataError: The text is malformed so that the next row cannot be found, cut, too large, or
            holds its rows in a shape that is not read.
    """
    text = JsonText(stream, path, limits)
    shape = _shape(text, path, is_lines)
    text.wanted = "no JSON array" if shape == "array" else "malformed JSON"
    if shape == "array":
        yield from _array(text, numbers)
    elif shape == "wrapper":
        yield from _wrapped(text, path, numbers)
    elif shape == "values":
        while text.next_mark():
            yield text.take_item(next(numbers))
    else:
        yield from _lines(text, path, numbers, limits)
        return
    if text.next_mark():
        raise text.malformed("something follows its end")


def _shape(text: JsonText, path: str, is_lines: bool) -> str:
    """How the rows stand in the text: array, wrapper, values or lines."""
    mark = text.next_mark()
    if mark == "[" and not is_lines:
        return "array"
    if not mark or mark not in "[{":
        return "lines"
    try:
        value, length = text.scan()
    except TooLargeError:
        return "array" if mark == "[" else "wrapper"
    except DataError:
        return "lines"  # each is tried for itself
    is_sole = not text.mark_after(length)
    is_spread = not text.is_on_one_line(length)
    if mark == "[":
        return "array" if is_sole or is_spread else "lines"
    if is_sole and isinstance(value, dict) and _is_wrapper(value, path):
        return "wrapper"
    return "values" if is_spread else "lines"


def _is_wrapper(value: Mapping[str, object], path: str) -> bool:
    """Whether the only object of a file holds its rows in a list.

    Raises:
        DataError: It holds several lists of rows, or columns instead of rows.
    """
    lists = [key for key, inner in value.items() if _has_objects(inner) and not _is_chat(inner)]
    if value and all(isinstance(inner, dict) for inner in value.values()):
        raise _of_columns(path)
    is_row = not _ROW_KEYS.isdisjoint(value)
    if not is_row and len(lists) > 1:
        raise _several(lists, path)
    columns = [inner for inner in value.values() if isinstance(inner, list)]
    if len(columns) == len(value) > 1 and not any(map(_has_objects, columns)):
        raise _of_columns(path)
    return not is_row and len(lists) == 1


def _has_objects(value: object) -> bool:
    return isinstance(value, list) and any(isinstance(item, dict) for item in value)


def _is_chat(value: object) -> bool:
    first = value[0] if isinstance(value, list) else None
    return isinstance(first, dict) and any(keys <= set(first) for keys in _TURN_KEYS)


def _several(keys: list[str], path: str) -> DataError:
    shown = ", ".join(repr(key[:40]) for key in keys[:8])
    return DataError(
        f"{path} is one object with several lists of rows, {shown}; write each to a file of its own"
    )


def _of_columns(path: str) -> DataError:
    return DataError(
        f"{path} is one object with a value for each column, and not for each row; write a line "
        'for each row (pandas: to_json(path, orient="records", lines=True))'
    )


def _array(text: JsonText, numbers: Iterator[int]) -> Iterator[RawRow]:
    text.take_mark("[")
    mark = text.take_mark("]") if text.next_mark() == "]" else ","
    while mark == ",":
        yield text.take_item(next(numbers))
        mark = text.take_mark(",]")


def _wrapped(text: JsonText, path: str, numbers: Iterator[int]) -> Iterator[RawRow]:
    """The items of the only list of objects within an object, which may be of any size."""
    keys: list[str] = []
    lists: list[str] = []
    mark = text.take_mark("{")
    while mark != "}":
        key = text.take_value()
        if not isinstance(key, str) or key in keys:
            raise text.malformed("a key is no text, or there twice")
        keys.append(key)
        text.take_mark(":")
        if text.next_mark() == "[" and text.mark_after(1) == "{":
            lists.append(key)
            if len(lists) > 1 or key in _ROW_KEYS:
                raise _several(lists, path)
            yield from _array(text, numbers)
        elif _has_objects(text.take_value()):
            raise _several([*lists, key], path)
        mark = text.take_mark(",}")
    if not lists:
        raise text.malformed("it has no list of rows")


def _lines(text: JsonText, path: str, numbers: Iterator[int], limits: Limits) -> Iterator[RawRow]:
    decoder = JsonDecoder()
    for line in text.lines():
        raw = line.rstrip("\r\n")
        if not raw.strip("\0"):
            raise DataError(
                f"{path} holds zeros behind row {next(numbers) - 1}: a download that did not end; "
                "get it anew"
            )
        is_open = line == raw  # nothing but the end of the file ends it
        yield from _line(raw, decoder, numbers, limits, path if is_open else None)


def _line(
    raw: str, decoder: JsonDecoder, numbers: Iterator[int], limits: Limits, cut: str | None
) -> list[RawRow]:
    """The row of a line, or the rows; `cut`: the file, when the line may be cut by its end."""
    try:
        value = decoder.decode(raw)
    except json.JSONDecodeError as error:
        glued = _glued(raw, decoder, numbers, limits) if error.msg == "Extra data" else []
        if glued:
            return glued
        ends_early = error.pos > len(raw) - _LAST_CHARACTERS
        if cut and (ends_early or error.msg.startswith("Unterminated string")):
            raise DataError(
                f"{cut} ends within row {next(numbers)}: it is cut; get it anew, or "
                "take that line out"
            ) from error
        problem = f"malformed JSON: {error.msg}"
    except ValueError:  # an integer of more than 4,300 digits
        problem = "malformed JSON: number too long"
    except RecursionError:
        problem = "malformed JSON: nested too deeply"
    else:
        row = decoder.row(value, raw, next(numbers), limits.columns, decoder.repeats)
        return [checked_utf8(row)]
    return [checked_utf8(RawRow(next(numbers), None, raw, problem))]


def _glued(raw: str, decoder: JsonDecoder, numbers: Iterator[int], limits: Limits) -> list[RawRow]:
    """The rows of a line of objects with nothing but white space between them, or none."""
    parts: list[tuple[dict[str, object], str, bool]] = []
    at = 0
    raw = raw.strip()
    while at < len(raw):
        try:
            value, end = decoder.raw_decode(raw, at)
        except (ValueError, RecursionError):
            return []
        if not isinstance(value, dict):
            return []
        parts.append((value, raw[at:end], decoder.repeats))
        at = end + len(raw[end:]) - len(raw[end:].lstrip())
    return [
        checked_utf8(decoder.row(value, part, next(numbers), limits.columns, repeats))
        for value, part, repeats in parts
    ]
