"""JSON text taken apart value by value, with one value in memory."""

import io
import json
import re
from collections.abc import Iterator
from typing import Any

from gradgate.config import Limits
from gradgate.data.rows.limits import max_row, too_large
from gradgate.data.rows.row import RawRow, checked_utf8
from gradgate.errors import DataError

_CHUNK_CHARACTERS = 1 << 16  # that are read at once
_MAX_CUT_CHARACTERS = 16  # longer than any literal, escape or exponent that a chunk's end can cut
_NO_SPACE = re.compile(r"[^ \t\r\n]")
_BLANK = " \t\r\n\v\f"


class TooLargeError(DataError):
    """A value does not end within the bound of a row."""


class JsonDecoder(json.JSONDecoder):
    """Decodes JSON, and says whether an object of the last value has a key twice.

    Python takes the last of two, other readers the first: one would be judged, and the other
    trained on.

    Attributes:
        repeats: Whether it has.
    """

    def __init__(self) -> None:
        self.repeats = False
        super().__init__(object_pairs_hook=self._object)

    def raw_decode(self, s: str, idx: int = 0) -> tuple[Any, int]:
        """See `json.JSONDecoder.raw_decode`, which `decode` calls."""
        self.repeats = False
        return super().raw_decode(s, idx)

    def _object(self, pairs: list[tuple[str, object]]) -> dict[str, object]:
        found = dict(pairs)
        self.repeats = self.repeats or len(found) < len(pairs)
        return found

    @staticmethod
    def row(value: object, raw: str, row: int, max_keys: int, repeats: bool) -> RawRow:
        """The row that a value is.

        Args:
            value: What was decoded.
            raw: Its text.
            row: Its number.
            max_keys: Of an object.
            repeats: Whether an object has a key twice.
        """
        if not isinstance(value, dict):
            return RawRow(row, None, raw, "not a JSON object")
        if repeats:
            return RawRow(row, None, raw, "malformed JSON: an object has the same key twice")
        if len(value) > max_keys:
            return RawRow(row, None, raw, f"more than {max_keys} keys")
        return RawRow(row, value, raw)


class JsonText:
    """A JSON text and the place up to which it was taken.

    ijson is not used: it ends the whole file at NaN, at a long integer and at a byte that is no
    UTF-8, and its C backend silently replaces lone surrogates.
    """

    def __init__(self, stream: io.BufferedReader, path: str, limits: Limits) -> None:
        # Lines end at \n alone: others are white space, or stand within a string.
        self.wanted = "no JSON array"  # what the text is not when it is malformed
        self._text = io.TextIOWrapper(stream, "utf-8", errors="surrogateescape", newline="\n")
        self._path = path
        self._limits = limits
        self._max = max_row(limits)
        self._buffer = ""
        self._at = 0
        self._decoder = JsonDecoder()

    def next_mark(self) -> str:
        """Return the next character that is no white space, without taking it; "" at the end.

        Raises:
            DataError: There is more white space than a row may have.
        """
        n_spaces = self._n_spaces(0)
        self._at += n_spaces
        return self._buffer[self._at : self._at + 1]

    def mark_after(self, n_characters: int) -> str:
        """The same behind so many characters."""
        n_spaces = self._n_spaces(n_characters)
        at = self._at + n_characters + n_spaces
        return self._buffer[at : at + 1]

    def _n_spaces(self, start: int) -> int:
        """White space behind so many characters; what ends it is in the buffer, or nothing is."""
        n_read = start
        while n_read - start <= self._max:
            found = _NO_SPACE.search(self._buffer, self._at + n_read)
            if found:
                return found.start() - self._at - start
            n_read = len(self._buffer) - self._at
            if not self._read_more():
                return n_read - start
        raise too_large(f"{self._path}: white space in it", self._limits)

    def take_mark(self, allowed: str) -> str:
        """Take the next character that is no white space, which must be one of `allowed`."""
        mark = self.next_mark()
        if not mark or mark not in allowed:
            wanted = " or ".join(allowed)
            raise self.malformed(f"{wanted} is missing" if mark else "it ends early")
        self._at += 1
        return mark

    def take_item(self, row: int) -> RawRow:
        """Take the next value, which becomes row number `row`."""
        value, length = self.scan()
        raw = self._buffer[self._at : self._at + length]
        self._at += length
        repeats = self._decoder.repeats
        return checked_utf8(self._decoder.row(value, raw, row, self._limits.columns, repeats))

    def take_value(self) -> object:
        """Take the next value."""
        value, length = self.scan()
        self._at += length
        return value

    def scan(self) -> tuple[object, int]:
        """The next value, without taking it, and its length in characters.

        Raises:
            TooLargeError: It does not end within the bound of a row.
            DataError: It is malformed, or ends early.
        """
        self.next_mark()
        while True:
            try:
                value, end = self._decoder.raw_decode(self._buffer, self._at)
            except json.JSONDecodeError as error:
                is_cut = error.pos > len(self._buffer) - _MAX_CUT_CHARACTERS
                is_cut = is_cut or error.msg.startswith("Unterminated string")
                if not (is_cut and self._has_more()):
                    raise self.malformed(error.msg) from error
            except (ValueError, RecursionError) as error:
                raise self.malformed("a number is too long or nested too deeply") from error
            else:
                # A number near the end of the buffer may go on in the next chunk.
                if end < len(self._buffer) - _MAX_CUT_CHARACTERS or not self._has_more():
                    return value, end - self._at

    def _has_more(self) -> bool:
        """Read more of a value, which must not grow beyond the bound."""
        if len(self._buffer) - self._at > self._max:
            raise TooLargeError(str(too_large(f"{self._path}: a row", self._limits)))
        return self._read_more()

    def is_on_one_line(self, length: int) -> bool:
        """Whether so many characters have no line end."""
        return self._buffer.find("\n", self._at, self._at + length) < 0

    def malformed(self, problem: str) -> DataError:
        """The error of a damaged text, which cannot be read any further."""
        return DataError(f"{self._path} is {self.wanted}: {problem}; write JSON lines instead")

    def lines(self) -> Iterator[str]:
        """Take the rest line by line, without the blank ones.

        Raises:
            DataError: A line, or what is blank between two, is longer than a row may be.
        """
        held = io.StringIO(self._buffer[self._at :], newline="\n")
        self._buffer, self._at, n_blank = "", 0, 0
        while True:
            line = held.readline(self._max + 1)
            if not line.endswith("\n"):
                line += self._text.readline(self._max + 1)
            if not line:
                return
            n_blank = 0 if line.strip(_BLANK) else n_blank + len(line)
            if max(len(line), n_blank) > self._max:
                raise too_large(f"{self._path}: a line, or white space in it,", self._limits)
            if not n_blank:
                yield line

    def _read_more(self) -> bool:
        # Doubling keeps the work linear in the length of an item.
        more = self._text.read(max(_CHUNK_CHARACTERS, len(self._buffer) - self._at))
        if more:
            self._buffer, self._at = self._buffer[self._at :] + more, 0
        return bool(more)
