"""Rows of Arrow tables; a row that cannot be read stays a row."""

from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from gradgate.data.rows import RawRow, as_json

_MAX_ROWS = 64  # of a table that are Python objects at the same time


def read_table(table: Any, numbers: Iterator[int]) -> Iterator[RawRow]:
    """Read an Arrow table or record batch; few of its rows are Python objects at once."""
    if isinstance(table, pa.RecordBatch):
        table = pa.Table.from_batches([table])
    for start in range(0, table.num_rows, _MAX_ROWS):
        part = table.slice(start, _MAX_ROWS)
        try:
            values = part.to_pylist()
        except (ValueError, OverflowError):  # a string that is no UTF-8, a date no Python has
            yield from (_table_row(part, i, next(numbers)) for i in range(part.num_rows))
        else:
            rows = enumerate(values)
            yield from (RawRow(next(numbers), value, "", None, part, i) for i, value in rows)


def _table_row(table: Any, at: int, row: int) -> RawRow:
    part = table.slice(at, 1)
    try:
        return RawRow(row, part.to_pylist()[0], "", None, table, at)
    except (ValueError, OverflowError) as error:
        names, columns = part.schema.names, part.columns
        raw = {name: _as_it_is(column) for name, column in zip(names, columns, strict=True)}
        utf8 = isinstance(error, UnicodeDecodeError)
        problem = "invalid UTF-8" if utf8 else "unreadable value"
        return RawRow(row, None, as_json(raw), problem, table, at)


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
