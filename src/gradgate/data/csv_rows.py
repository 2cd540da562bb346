"""Rows of CSV; a row that cannot be read stays a row."""

import csv
import io
from collections.abc import Iterator

from gradgate.data.rows import RawRow, checked_utf8
from gradgate.errors import DataError

_MAX_FIELD_CHARACTERS = 2**31 - 1  # 128 KiB otherwise; it must fit into a C long of 32 bits


def read_csv(stream: io.BufferedReader, path: str, numbers: Iterator[int]) -> Iterator[RawRow]:
    """Read CSV whose first row names the columns; every value is a string.

    Raises:
        DataError: The first row does not name columns.
    """
    csv.field_size_limit(_MAX_FIELD_CHARACTERS)
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
        yield checked_utf8(row)


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
