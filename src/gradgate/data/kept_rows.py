"""The rows of a source as they were, kept aside until it is known where each of them goes.

Rows of a table (Parquet, Arrow, the hub, `datasets`) stay Arrow, with the types of their columns.
All others become lines of JSON: what was read of a row is what is written of it, so that nothing
comes through that was not judged, such as the first of two values under one name.
"""

import json
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa

from gradgate.data.formats.fields import unrepeated
from gradgate.data.rows.row import RawRow, as_text
from gradgate.data.sample import RejectedRowError
from gradgate.errors import DataError

OWN_COLUMN = "gradgate"  # what the gate adds to the rows that it keeps out
LINES = pa.schema(
    [
        pa.field("line", pa.string(), nullable=False),
        pa.field("is_json", pa.bool_(), nullable=False),  # False: the text of an unreadable row
    ],
    metadata={"gradgate": "lines"},  # no table of the data has that
)
_MAX_LINES = 1024
_MAX_CHARACTERS = 1 << 20
_CLASH = f"the column {OWN_COLUMN} is the gate's own; take it out of the rows"


class RowKeeper:
    """Writes rows into a folder, a file for each run of rows that are of one schema."""

    def __init__(self, folder: Path) -> None:
        """Take a folder, which is made."""
        folder.mkdir()
        self._folder = folder
        self._n_files = self._n_rows = 0
        self._schema: Any = None
        self._writer: Any = None
        self._lines: list[tuple[str, bool]] = []
        self._n_characters = 0
        self._table: Any = None
        self._first = self._stop = 0

    def through(self, rows: Iterable[RawRow]) -> Iterator[RawRow]:
        """Keep each row and pass it on; one that could not be written later is unreadable.

        Raises:
            DataError: Rows are not numbered from 0 on, or a table has the gate's own column.
        """
        for raw in rows:
            if raw.row != self._n_rows:
                raise DataError(f"row {raw.row} of the source comes where {self._n_rows} is due")
            self._n_rows += 1
            yield self._keep(raw)

    def close(self) -> None:
        """Write what is left."""
        self._write_pending()
        if self._writer is not None:
            self._writer.close()

    def _keep(self, raw: RawRow) -> RawRow:
        if raw.table is not None:
            self._keep_slice(raw.table, raw.at)
            return raw
        line, problem = line_of(raw)
        if self._table is not None:
            self._write_pending()
        self._lines.append((line, problem is None))
        self._n_characters += len(line)
        if len(self._lines) >= _MAX_LINES or self._n_characters >= _MAX_CHARACTERS:
            self._write_pending()
        return raw if raw.value is None or problem is None else RawRow(raw.row, None, line, problem)

    def _keep_slice(self, table: Any, at: int) -> None:
        if table is self._table and at == self._stop:
            self._stop += 1
            return
        self._write_pending()
        _check_names(table.schema.names)
        self._table, self._first, self._stop = table, at, at + 1

    def _write_pending(self) -> None:
        if self._lines:
            self._write(pa.Table.from_arrays(_columns(self._lines), schema=LINES))
        if self._table is not None:
            self._write(self._table.slice(self._first, self._stop - self._first))
        self._lines, self._n_characters, self._table = [], 0, None

    def _write(self, table: Any) -> None:
        if self._schema is None or not self._schema.equals(table.schema, check_metadata=True):
            if self._writer is not None:
                self._writer.close()
            path = self._folder / f"{self._n_files:06}.arrow"
            options = pa.ipc.IpcWriteOptions(compression="zstd")
            self._writer = pa.ipc.new_stream(path, table.schema, options=options)
            self._schema, self._n_files = table.schema, self._n_files + 1
        self._writer.write_table(table)


def line_of(raw: RawRow) -> tuple[str, str | None]:
    """A row as a line of JSON; or its text, and why that is none."""
    if raw.value is None:
        return raw.content(), raw.problem or "unreadable"
    if OWN_COLUMN in raw.value:
        return raw.content(), _CLASH
    try:
        line = json.dumps(raw.value, ensure_ascii=False, default=as_text)
        if not raw.raw:  # Python's own objects: 1 and "1" would be the same key of JSON
            json.loads(line, object_pairs_hook=partial(unrepeated, "the row"))
    except (ValueError, TypeError, RecursionError, RejectedRowError):
        return raw.content(), "the row cannot be written as JSON"
    return line.encode("utf-8", "backslashreplace").decode("utf-8"), None


def kept_schemas(folder: Path) -> list[Any]:
    """The schemas of the files, in the order of the rows; `LINES` for lines."""
    return [schema for schema, _ in _files(folder)]


def kept_batches(folder: Path) -> Iterator[Any]:
    """The kept rows, in batches of few rows, in their order."""
    for _, batches in _files(folder):
        yield from batches


def _files(folder: Path) -> Iterator[tuple[Any, Any]]:
    for path in sorted(folder.glob("*.arrow")):
        with pa.OSFile(str(path)) as file, pa.ipc.open_stream(file) as reader:
            yield reader.schema, reader


def _check_names(names: list[str]) -> None:
    """Refuse a table whose rows could not be told apart by the names of their columns."""
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DataError(f"the table has several columns of the name {twice[0]!r}; name them apart")
    if OWN_COLUMN in names:
        raise DataError(_CLASH)


def _columns(lines: list[tuple[str, bool]]) -> list[Any]:
    texts, are_json = zip(*lines, strict=True)
    return [pa.array(texts, pa.string()), pa.array(are_json, pa.bool_())]
