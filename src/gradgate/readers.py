"""From the bytes of one file, or a table, to rows; a row that cannot be read stays a row."""

import csv
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from gradgate.errors import DataError

_TABLE_ROWS = 64  # rows of a table that are Python objects at the same time
_CHUNK = 1 << 16  # characters of a JSON array read at once
_LONGEST_CUT = 16  # more than the longest literal, escape or exponent a chunk's end can cut
_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class RawRow:
    """A row as it stands in the source.

    Attributes:
        row: 0-based; blank lines are not counted, unreadable rows are.
        value: None when the row cannot be read.
        raw: The row's text, bytes that are no UTF-8 backslash-escaped; empty for a readable row
            of a table (Parquet, Arrow, save_to_disk, hub), where `value` is all there is.
        problem: Why the row cannot be read.
    """

    row: int
    value: dict[str, object] | None
    raw: str
    problem: str | None = None

    def content(self) -> str:
        """Return the whole row as text that UTF-8 can encode."""
        text = self.raw if self.raw or self.value is None else as_json(self.value)
        return text.encode("utf-8", "backslashreplace").decode("utf-8")


def as_json(value: object) -> str:
    """Write any value as JSON; what JSON does not know (bytes, dates) becomes a string."""
    try:
        return json.dumps(value, ensure_ascii=False, default=_as_text)
    except (ValueError, TypeError, RecursionError):  # keys that are no strings, deep nesting
        return repr(value)


def _as_text(value: object) -> str:
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)


def without_bom(stream: io.BufferedReader) -> io.BufferedReader:
    """Skip a byte order mark."""
    if stream.peek(len(_BOM)).startswith(_BOM):
        stream.read(len(_BOM))
    return stream


# JSON


def read_lines(stream: io.BufferedReader, numbers: Iterator[int]) -> Iterator[RawRow]:
    """Read JSON lines, each decoded for itself."""
    for line in stream:
        if not line.isspace():
            yield _line(line.rstrip(b"\r\n"), next(numbers))


def _line(line: bytes, row: int) -> RawRow:
    try:
        raw = line.decode("utf-8")
    except UnicodeDecodeError:
        return RawRow(row, None, line.decode("utf-8", "backslashreplace"), "invalid UTF-8")
    try:
        return _object(json.loads(raw), raw, row)
    except json.JSONDecodeError as error:
        problem = f"malformed JSON: {error.msg}"
    except ValueError:  # an integer of more than 4,300 digits
        problem = "malformed JSON: number too long"
    except RecursionError:
        problem = "malformed JSON: nested too deeply"
    return RawRow(row, None, raw, problem)


def _object(value: object, raw: str, row: int) -> RawRow:
    if isinstance(value, dict):
        return RawRow(row, value, raw)
    return RawRow(row, None, raw, "not a JSON object")


def read_json(stream: io.BufferedReader, path: str, numbers: Iterator[int]) -> Iterator[RawRow]:
    """Read a JSON array, or JSON lines under the name .json.

    Raises:
        DataError: The array is malformed; its next item cannot be found.
    """
    while stream.peek(1)[:1].isspace():
        stream.read(1)
    if stream.peek(1)[:1] != b"[":
        yield from read_lines(stream, numbers)
        return
    text = _ArrayText(stream, path)
    text.take_mark("[")
    mark = text.take_mark("]") if text.next_mark() == "]" else ","
    while mark == ",":
        yield text.take_item(next(numbers))
        mark = text.take_mark(",]")
    if text.next_mark():
        raise text.malformed("something follows its end")


class _ArrayText:
    """Takes a JSON array apart item by item, keeping one item in memory.

    ijson is not used: it ends the whole file at NaN, at a long integer and at a byte that is no
    UTF-8, and its C backend silently replaces lone surrogates.
    """

    def __init__(self, stream: io.BufferedReader, path: str) -> None:
        self._text = io.TextIOWrapper(stream, "utf-8", errors="surrogateescape", newline="")
        self._path = path
        self._buffer = ""
        self._at = 0
        self._decoder = json.JSONDecoder()

    def next_mark(self) -> str:
        """Return the next character that is no white space, without taking it; "" at the end."""
        while True:
            while self._at < len(self._buffer):
                if self._buffer[self._at] not in " \t\r\n":
                    return self._buffer[self._at]
                self._at += 1
            if not self._read_more():
                return ""

    def take_mark(self, allowed: str) -> str:
        """Take the next character that is no white space, which must be one of `allowed`."""
        mark = self.next_mark()
        if not mark or mark not in allowed:
            raise self.malformed("a comma is missing" if mark else "it ends early")
        self._at += 1
        return mark

    def take_item(self, row: int) -> RawRow:
        """Take the next item, which becomes row number `row`."""
        self.next_mark()
        while True:
            try:
                value, end = self._decoder.raw_decode(self._buffer, self._at)
            except json.JSONDecodeError as error:
                cut = error.pos > len(self._buffer) - _LONGEST_CUT
                if not ((cut or error.msg.startswith("Unterminated string")) and self._read_more()):
                    raise self.malformed(error.msg) from error
            except (ValueError, RecursionError) as error:
                raise self.malformed("a number is too long or nested too deeply") from error
            else:
                # A number near the end of the buffer may go on in the next chunk.
                if end < len(self._buffer) - _LONGEST_CUT or not self._read_more():
                    raw, self._at = self._buffer[self._at : end], end
                    return _checked_utf8(_object(value, raw, row))

    def malformed(self, problem: str) -> DataError:
        """Say what is wrong; the array cannot be read any further."""
        return DataError(f"{self._path} is no JSON array: {problem}; write JSON lines instead")

    def _read_more(self) -> bool:
        # Doubling keeps the work linear in the length of an item.
        more = self._text.read(max(_CHUNK, len(self._buffer) - self._at))
        if more:
            self._buffer, self._at = self._buffer[self._at :] + more, 0
        return bool(more)


def _checked_utf8(row: RawRow) -> RawRow:
    """Turn a row whose text holds escaped bytes (errors="surrogateescape") into an unreadable one.

    JSON's own surrogate escapes are ASCII here and stay.
    """
    try:
        row.raw.encode("utf-8")
    except UnicodeEncodeError:
        text = row.raw.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
        return RawRow(row.row, None, text, "invalid UTF-8")
    return row


# CSV


def read_csv(stream: io.BufferedReader, path: str, numbers: Iterator[int]) -> Iterator[RawRow]:
    """Read CSV whose first row names the columns; every value is a string.

    Raises:
        DataError: The first row does not name columns.
    """
    csv.field_size_limit(2**31 - 1)  # 128 KiB otherwise; it must fit into a C long of 32 bits
    text = io.TextIOWrapper(stream, "utf-8", errors="surrogateescape", newline="")
    seen: list[str] = []
    # strict: a stray quote is an error of its row, not a field that swallows the next rows.
    reader = csv.reader(_recorded(text, seen), strict=True)
    columns = _csv_header(reader, path)
    while True:
        seen.clear()
        try:
            fields = next(reader, None)
        except csv.Error as error:
            row = RawRow(next(numbers), None, "".join(seen), f"malformed CSV: {error}")
        else:
            if fields is None:
                return
            if not fields:
                continue
            row = _csv_row(columns, fields, "".join(seen), next(numbers))
        yield _checked_utf8(row)


def _recorded(lines: io.TextIOWrapper, seen: list[str]) -> Iterator[str]:
    for line in lines:
        seen.append(line)
        yield line


def _csv_header(reader: Iterator[list[str]], path: str) -> list[str]:
    try:
        columns = next((fields for fields in reader if fields), [])
        "".join(columns).encode("utf-8")
    except (csv.Error, UnicodeEncodeError) as error:
        raise DataError(f"{path}: the first row cannot be read: {error}") from error
    if len(set(columns)) < len(columns) or not all(columns):
        raise DataError(f"{path}: the first row must name every column, and no two the same")
    return columns


def _csv_row(columns: list[str], fields: list[str], raw: str, row: int) -> RawRow:
    if len(fields) != len(columns):
        return RawRow(row, None, raw, f"{len(fields)} fields instead of {len(columns)}")
    return RawRow(row, dict(zip(columns, fields, strict=True)), raw)


# Tables


def read_table(table: Any, numbers: Iterator[int]) -> Iterator[RawRow]:
    """Read an Arrow table or record batch; few of its rows are Python objects at once."""
    for start in range(0, table.num_rows, _TABLE_ROWS):
        part = table.slice(start, _TABLE_ROWS)
        try:
            values = part.to_pylist()
        except (ValueError, OverflowError):  # a string that is no UTF-8, a date no Python has
            yield from (_table_row(part.slice(i, 1), next(numbers)) for i in range(part.num_rows))
        else:
            yield from (RawRow(next(numbers), value, "") for value in values)


def _table_row(part: Any, row: int) -> RawRow:
    try:
        return RawRow(row, part.to_pylist()[0], "")
    except (ValueError, OverflowError) as error:
        names, columns = part.schema.names, part.columns
        raw = {name: _as_it_is(column) for name, column in zip(names, columns, strict=True)}
        utf8 = isinstance(error, UnicodeDecodeError)
        return RawRow(row, None, as_json(raw), "invalid UTF-8" if utf8 else "unreadable value")


def _as_it_is(column: Any) -> object:
    try:
        return column.to_pylist()[0]
    except UnicodeDecodeError:
        return column.cast(_with_bytes(column.type)).to_pylist()[0]
    except (ValueError, OverflowError):
        return str(column)


def _with_bytes(kind: Any) -> Any:
    """Return the Arrow type with its strings, nested ones too, replaced by bytes."""
    if pa.types.is_string(kind):
        return pa.binary()
    if pa.types.is_large_string(kind):
        return pa.large_binary()
    if pa.types.is_list(kind):
        return pa.list_(_with_bytes(kind.value_type))
    if pa.types.is_struct(kind):
        return pa.struct([(field.name, _with_bytes(field.type)) for field in kind])
    return kind
