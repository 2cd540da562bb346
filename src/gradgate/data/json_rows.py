"""Rows of JSON lines and of JSON arrays; a row that cannot be read stays a row."""

import io
import json
from collections.abc import Iterator

from gradgate.data.rows import RawRow, checked_utf8
from gradgate.errors import DataError

_CHUNK_CHARACTERS = 1 << 16  # of a JSON array that are read at once
_MAX_CUT_CHARACTERS = 16  # longer than any literal, escape or exponent that a chunk's end can cut


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
                cut = error.pos > len(self._buffer) - _MAX_CUT_CHARACTERS
                if not ((cut or error.msg.startswith("Unterminated string")) and self._read_more()):
                    raise self.malformed(error.msg) from error
            except (ValueError, RecursionError) as error:
                raise self.malformed("a number is too long or nested too deeply") from error
            else:
                # A number near the end of the buffer may go on in the next chunk.
                if end < len(self._buffer) - _MAX_CUT_CHARACTERS or not self._read_more():
                    raw, self._at = self._buffer[self._at : end], end
                    return checked_utf8(_object(value, raw, row))

    def malformed(self, problem: str) -> DataError:
        """The error of a damaged array, which cannot be read any further."""
        return DataError(f"{self._path} is no JSON array: {problem}; write JSON lines instead")

    def _read_more(self) -> bool:
        # Doubling keeps the work linear in the length of an item.
        more = self._text.read(max(_CHUNK_CHARACTERS, len(self._buffer) - self._at))
        if more:
            self._buffer, self._at = self._buffer[self._at :] + more, 0
        return bool(more)
