"""A row as it stands in its source, readable or not."""

import json
import reprlib
from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass(frozen=True, slots=True)
class RawRow:
    """A row as it stands in the source.

    Attributes:
        row: 0-based; blank lines are not counted, unreadable rows are.
        value: None when the row cannot be read.
        raw: The row's text, bytes that are no UTF-8 backslash-escaped; empty for a readable row
            of a table (Parquet, Arrow, save_to_disk, hub), where `value` is all there is.
        problem: Why the row cannot be read.
        table: Arrow table that the row stands in; None for a row of text or of Python objects.
        at: Its position there.
    """

    row: int
    value: dict[str, object] | None
    raw: str
    problem: str | None = None
    table: Any = field(default=None, compare=False, repr=False)
    at: int = field(default=0, compare=False, repr=False)

    def content(self) -> str:
        """Return the whole row as text that UTF-8 can encode."""
        text = self.raw if self.raw or self.value is None else as_json(self.value)
        return text.encode("utf-8", "backslashreplace").decode("utf-8")


def as_json(value: object) -> str:
    """Write any value as JSON; values that JSON does not know (bytes, dates) become strings."""
    try:
        return json.dumps(value, ensure_ascii=False, default=as_text)
    except (ValueError, TypeError, RecursionError):  # keys that are no strings, deep nesting
        return written(value)


def written(value: object) -> str:
    """A value as Python writes it; of one that is nested too deeply the first levels."""
    try:
        return repr(value)
    except RecursionError:
        return reprlib.repr(value)


def as_text(value: object) -> object:
    """What stands for a value that JSON does not know: its numbers, or else a text."""
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)


def written_name(name: str) -> str:
    """The name of a column as UTF-8 can hold it; JSON may escape what no Unicode is."""
    return name.encode("utf-8", "backslashreplace").decode("utf-8")


def checked_utf8(row: RawRow) -> RawRow:
    """Turn a row whose text holds escaped bytes (errors="surrogateescape") into an unreadable one.

    JSON's own surrogate escapes are ASCII here and stay.
    """
    try:
        row.raw.encode("utf-8")
    except UnicodeEncodeError:
        text = row.raw.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
        return RawRow(row.row, None, text, "invalid UTF-8")
    return row
