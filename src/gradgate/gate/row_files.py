"""Files of rows in the schema of their source: JSON lines, or Parquet where the source is a table.

A row that is kept out has one column more, `gradgate`, with its number and the reasons; it is left
out again when the row is restored. A line that could not be read stands there as `raw`.
"""

import io
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import pyarrow as pa
import pyarrow.parquet as pq

from gradgate.common.parquet import GROUP_ROWS, batches, data_errors
from gradgate.data.kept_rows import LINES, OWN_COLUMN, kept_batches, kept_schemas, line_of
from gradgate.data.rows.table_rows import read_table
from gradgate.errors import DataError

_GROUP_BYTES = 1 << 23
_HEAD = f'{{"{OWN_COLUMN}": '
_OWN = pa.struct(
    [
        ("row", pa.int64()),
        ("why", pa.string()),
        ("reasons", pa.list_(pa.string())),
        ("groups", pa.list_(pa.string())),
    ]
)


@dataclass(frozen=True, slots=True)
class Own:
    """What the gate says of a row that it keeps out.

    Attributes:
        row: Its number in the source, from 0.
        why: In a word or two.
        groups: Of which it is a member, such as `poisoned:1`.
    """

    row: int
    why: str
    reasons: list[str]
    groups: list[str]


@dataclass(frozen=True, slots=True)
class Line:
    """A row as text.

    Attributes:
        text: A JSON object; or the text of a row that could not be read.
    """

    text: str
    is_json: bool = True


# What reading a file raises that is none of the gate's.
_BROKEN = (OSError, ValueError, KeyError, TypeError, RecursionError, pa.ArrowException)

Row: TypeAlias = Any  # a `Line`; or of a table, a `pyarrow.Table` of one row


class RowWriter(Protocol):
    """Writes rows, one after the other."""

    def add(self, row: Row, own: Own | None) -> None:
        """Write a row; `own`: what the gate says of it."""

    def close(self) -> None:
        """Write what is left."""


@dataclass(frozen=True)
class RowKind:
    """What the files of a source are.

    Attributes:
        schema: Of the source; None for JSON lines.
    """

    schema: Any = None

    @property
    def suffix(self) -> str:
        """The ending of the files' names."""
        return ".jsonl" if self.schema is None else ".parquet"

    @classmethod
    def of_kept(cls, folder: Path) -> "RowKind":
        """Parquet where all kept rows are of tables that have one schema."""
        schemas = kept_schemas(folder)
        if not schemas or any(schema.equals(LINES, check_metadata=True) for schema in schemas):
            return cls()
        try:
            schema = schemas[0] if len(schemas) == 1 else pa.unify_schemas(schemas)
            pq.ParquetWriter(io.BytesIO(), schema).close()
        except (pa.ArrowException, ValueError):
            return cls()
        return cls(schema)

    @classmethod
    def of_file(cls, path: Path) -> "RowKind":
        """By the name of an accepted file and, of Parquet, its schema."""
        if path.suffix != ".parquet":
            return cls()
        with data_errors(path):
            return cls(pq.read_schema(path))

    def writer(self, path: Path, kept_out: bool) -> RowWriter:
        """Begin a file.

        Args:
            path: The file.
            kept_out: Whether the rows have the gate's own column.
        """
        return _Lines(path) if self.schema is None else _Tables(path, self.schema, kept_out)

    def kept(self, folder: Path) -> Iterator[Row]:
        """The kept rows, as the writers take them."""
        for batch in kept_batches(folder):
            if batch.schema.equals(LINES, check_metadata=True):
                columns = (batch[name].to_pylist() for name in LINES.names)
                yield from map(Line, *columns)
            elif self.schema is None:
                yield from map(_as_line, read_table(batch, count()))
            else:
                yield from _single(batch, self.schema)

    def read(self, path: Path, kept_out: bool) -> Iterator[tuple[Row, Own | None]]:
        """The rows of a file, without the gate's own column and with what it said.

        Raises:
            DataError: The file cannot be read, or is none of the gate's.
        """
        try:
            read = _read_lines if self.schema is None else _read_tables
            yield from read(path, self.schema, kept_out)
        except _BROKEN as error:
            raise DataError(f"{path} is no file of the gate's rows: {error}") from error


class _Lines:
    """JSON lines."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("w", encoding="utf-8", newline="\n")

    def add(self, row: Row, own: Own | None) -> None:
        self._file.write(f"{_with_own(row, own)}\n")

    def close(self) -> None:
        self._file.close()


class _Tables:
    """Parquet, in groups of bounded size."""

    def __init__(self, path: Path, schema: Any, kept_out: bool) -> None:
        own = pa.field(OWN_COLUMN, _OWN)
        self._schema = schema.append(own) if kept_out else schema
        self._writer = pq.ParquetWriter(path, self._schema, compression="zstd")
        self._group: list[Any] = []
        self._n_bytes = 0

    def add(self, row: Row, own: Own | None) -> None:
        if own is not None:
            row = row.append_column(self._schema.field(OWN_COLUMN), pa.array([asdict(own)], _OWN))
        self._group.append(row)
        self._n_bytes += row.nbytes
        if len(self._group) >= GROUP_ROWS or self._n_bytes >= _GROUP_BYTES:
            self._write_group()

    def close(self) -> None:
        self._write_group()
        self._writer.close()

    def _write_group(self) -> None:
        if self._group:
            self._writer.write_table(pa.concat_tables(self._group))
        self._group, self._n_bytes = [], 0


def _as_line(raw: Any) -> Line:
    text, problem = line_of(raw)
    return Line(text, problem is None)


def _single(batch: Any, schema: Any) -> Iterator[Any]:
    table = pa.Table.from_batches([batch])
    if not table.schema.equals(schema, check_metadata=True):
        table = _unified(table, schema)
    for at in range(table.num_rows):
        yield table.slice(at, 1)


def _unified(table: Any, schema: Any) -> Any:
    """A table with the columns of a schema that its own is part of; missing ones are null."""
    n = table.num_rows
    columns = [
        table[field.name].cast(field.type)
        if field.name in table.schema.names
        else pa.nulls(n, field.type)
        for field in schema
    ]
    return pa.Table.from_arrays(columns, schema=schema)


def _with_own(row: Line, own: Own | None) -> str:
    if own is None:
        return row.text
    said = asdict(own) if row.is_json else {**asdict(own), "raw": row.text}
    head = _HEAD + json.dumps(said, ensure_ascii=False)
    if not row.is_json or row.text == "{}":
        return head + "}"
    return f"{head}, {row.text[1:]}"


def _read_lines(path: Path, _: Any, kept_out: bool) -> Iterator[tuple[Row, Own | None]]:
    decoder = json.JSONDecoder()
    with path.open(encoding="utf-8", newline="\n") as file:
        for text in file:
            text = text.removesuffix("\n")
            if not kept_out:
                yield Line(text), None
                continue
            if not text.startswith(_HEAD):
                raise ValueError(f"a line without {OWN_COLUMN}")
            said, end = decoder.raw_decode(text, len(_HEAD))
            if not isinstance(said, dict):
                raise ValueError(f"{OWN_COLUMN} is no object")
            raw = said.pop("raw", None)
            rest = text[end:]
            row = Line("{" + rest.removeprefix(", ")) if raw is None else Line(raw, is_json=False)
            yield row, Own(**said)


def _read_tables(path: Path, schema: Any, kept_out: bool) -> Iterator[tuple[Row, Own | None]]:
    names = [*schema.names, OWN_COLUMN] if kept_out else schema.names
    for batch in batches(path, names):
        said = batch[OWN_COLUMN].to_pylist() if kept_out else [None] * batch.num_rows
        rows = _single(batch.select(schema.names), schema)
        for row, own in zip(rows, said, strict=True):
            yield row, None if own is None else Own(**own)
