"""Rows of CSV, with any delimiter; a row that cannot be read stays a row."""

import csv
import io
import itertools
import re
from collections.abc import Iterator

from gradgate.config import Limits
from gradgate.data.rows.limits import check_columns, max_row, too_large
from gradgate.data.rows.row import RawRow, checked_utf8
from gradgate.errors import DataError

_MAX_FIELD_CHARACTERS = 2**31 - 1  # 128 KiB otherwise; it must fit into a C long of 32 bits
_DELIMITERS = ",;\t|"  # that are looked for
_TELLS_DELIMITER = re.compile(r'"?sep=([^"\w\s]|\t)"?[\r\n]*')  # a first line that Excel reads
_LINE_BYTES = 32  # what a line takes beside its characters
_OPEN = "unexpected end of data"  # in the error of an open quote
_INDEX = "Unnamed: 0"  # as pandas calls the column without a name that its to_csv writes


def read_csv(
    stream: io.BufferedReader,
    path: str,
    numbers: Iterator[int],
    limits: Limits,
    delimiter: str | None = None,
) -> Iterator[RawRow]:
    """Read CSV whose first row names the columns; every value is a string.

    Args:
        stream: UTF-8 without a byte order mark.
        path: The file as errors name it, without credentials.
        numbers: Of the rows.
        limits: Those of the configuration.
        delimiter: Between cells; by the first row when absent.

    Raises:
        DataError: The first row does not name columns, or leaves open what stands between them;
            an open quote swallows rows; the file is cut, or a row is too large.
    """
    csv.field_size_limit(_MAX_FIELD_CHARACTERS)
    lines = _Lines(stream, path, limits)
    delimiter, columns = _header(iter(lines), path, delimiter)
    check_columns(path, len(columns), limits)
    # strict: a stray quote is an error of its row, not a field that swallows the next rows.
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    while True:
        lines.seen.clear()
        problem = ""
        try:
            fields = next(reader, None)
        except csv.Error as error:
            fields, problem = ["unread"], f"malformed CSV: {error}"
        if fields is None:
            return
        if not problem and len(fields) != len(columns):
            problem = f"{len(fields)} fields instead of {len(columns)}"
        if fields:
            row, raw = next(numbers), "".join(lines.seen)
            if problem:
                is_short = len(fields) < len(columns) and "malformed" not in problem
                _check_end(lines.seen, problem, is_short, f"{path}, row {row}")
                _check_quote(lines.seen, problem, len(columns), delimiter, f"{path}, row {row}")
            value: dict[str, object] | None = None
            value = None if problem else dict(zip(columns, fields, strict=True))
            yield checked_utf8(RawRow(row, value, raw, problem or None))


class _Lines:
    """The lines of a text, bounded, and those that the row so far is made of."""

    def __init__(self, stream: io.BufferedReader, path: str, limits: Limits) -> None:
        self.seen: list[str] = []
        self._text = io.TextIOWrapper(stream, "utf-8", errors="surrogateescape", newline="")
        self._path = path
        self._limits = limits
        self._max = max_row(limits)
        self._n_read = 0  # size of the row so far, and of blank lines before it

    def __iter__(self) -> Iterator[str]:
        while line := self._text.readline(self._max + 1):
            is_blank = not line.strip("\r\n")
            self._n_read = self._n_read * bool(self.seen or is_blank) + len(line) + _LINE_BYTES
            if self._n_read > self._max:
                place = f"{self._path}: a row (or what an open quote takes for one)"
                raise too_large(place, self._limits)
            self.seen.append(line)
            yield line


def _header(lines: Iterator[str], path: str, delimiter: str | None) -> tuple[str, list[str]]:
    """The delimiter, and the names of the columns; no names when there is no row."""
    first = _first_line(lines)
    told = _TELLS_DELIMITER.fullmatch(first)
    if told is not None:
        first, delimiter = _first_line(lines), delimiter or told[1]
    chosen = delimiter or _delimiter(first, path)
    try:
        reader = csv.reader(itertools.chain([first], lines), delimiter=chosen, strict=True)
        columns = next(reader) if first else []
        "".join(columns).encode("utf-8")
    except (csv.Error, UnicodeEncodeError) as error:
        raise DataError(f"{path}: the first row cannot be read: {error}") from error
    if len(columns) > 1 and not columns[0]:
        columns[0] = _INDEX
    if len(set(columns)) < len(columns) or not all(columns):
        raise DataError(f"{path}: the first row must name every column, and no two the same")
    return chosen, columns


def _first_line(lines: Iterator[str]) -> str:
    return next((line for line in lines if line.strip("\r\n")), "")


def _delimiter(first: str, path: str) -> str:
    """What parts the first line into names.

    Raises:
        DataError: Several delimiters do.
    """
    found = []
    for mark in _DELIMITERS:
        names = next(csv.reader([first], delimiter=mark), [])
        if len(names) > 1 and all(names[1:]) and len(set(names)) == len(names):
            found.append(mark)
    if len(found) > 1:
        shown = ", ".join("tab" if mark == "\t" else mark for mark in found)
        raise DataError(
            f"{path}: several delimiters part the first row into names ({shown}); name the right "
            "one in data.delimiter"
        )
    return found[0] if found else ","


def _check_end(seen: list[str], problem: str, is_short: bool, place: str) -> None:
    """Refuse a file whose end cuts a row.

    Raises:
        DataError: No line end follows a row that lacks cells, or the end of a quote.
    """
    is_cut = is_short or _OPEN in problem
    if is_cut and not seen[-1].endswith(("\n", "\r")):
        raise DataError(
            f"{place}: the file ends within it: it is cut; get it anew, or take the row out"
        )


def _check_quote(seen: list[str], problem: str, n_columns: int, delimiter: str, place: str) -> None:
    """Refuse a file whose rows are lost within a row that cannot be read.

    Raises:
        DataError: The row goes over several lines to the end of the file, or most of its lines are
            rows for themselves.
    """
    n_rows = sum(_n_fields(line, delimiter) == n_columns for line in seen[1:])
    if len(seen) > 1 and (_OPEN in problem or 2 * n_rows >= len(seen) - 1):
        raise DataError(
            f"{place}: an open quote takes {len(seen):,} lines for one row, and loses those rows; "
            "close or double the quote"
        )


def _n_fields(line: str, delimiter: str) -> int:
    try:
        return len(next(csv.reader([line], delimiter=delimiter, strict=True), []))
    except csv.Error:
        return 0
