"""Rows of Arrow tables; a row that cannot be read stays a row."""

from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from gradgate.data.rows.limits import TableBounds, max_row, too_large
from gradgate.data.rows.row import RawRow, as_json

_MAX_ROWS = 64  # of a table that are Python objects at the same time
_STRINGS = frozenset([pa.string(), pa.large_string(), pa.binary(), pa.large_binary()])
_VALUE_BYTES = 8  # what a value takes at least, as an element of a list


def read_table(
    table: Any, numbers: Iterator[int], bounds: TableBounds | None = None
) -> Iterator[RawRow]:
    """Read an Arrow table or record batch; few of its rows are Python objects at once.

    Args:
        table: With valid offsets.
        numbers: Of the rows.
        bounds: None where the rows are in memory anyway.

    Raises:
        DataError: A row, or all of them, are larger than the bounds, however little of the file
            they take.
    """
    if isinstance(table, pa.RecordBatch):
        table = pa.Table.from_batches([table])
    for start in range(0, table.num_rows, _MAX_ROWS):
        part = table.slice(start, _MAX_ROWS)
        size = 0 if bounds is None else _size(part)
        if bounds is not None:
            bounds.add(size)
        if bounds is not None and size > max_row(bounds.limits):
            yield from _one_by_one(part, numbers, bounds)
        else:
            yield from _together(part, numbers)


def _together(part: Any, numbers: Iterator[int]) -> Iterator[RawRow]:
    try:
        values = part.to_pylist()
    except (ValueError, OverflowError):  # a string that is no UTF-8, a date no Python has
        return (_table_row(part, i, next(numbers)) for i in range(part.num_rows))
    return (RawRow(next(numbers), v, "", None, part, i) for i, v in enumerate(values))


def _one_by_one(part: Any, numbers: Iterator[int], bounds: TableBounds) -> Iterator[RawRow]:
    for i in range(part.num_rows):
        row = next(numbers)
        if _size(part.slice(i, 1)) > max_row(bounds.limits):
            raise too_large(f"{bounds.path}: row {row}", bounds.limits)
        yield _table_row(part, i, row)


def _size(table: Any) -> int:
    """Bytes of all values of a table, those that are stored once and meant often counted often."""
    return sum(
        _array_size(chunk)
        for column in table.columns
        for chunk in (column.chunks if isinstance(column, pa.ChunkedArray) else [column])
    )


def _array_size(array: Any) -> int:
    """Bytes of all values of an array as they are as Python objects, at the least."""
    kind, own = array.type, len(array) * _VALUE_BYTES
    if isinstance(array, pa.ExtensionArray):
        return _array_size(array.storage)
    if pa.types.is_dictionary(kind):
        return own + (pc.sum(sizes(array.dictionary).take(array.indices)).as_py() or 0)
    if pa.types.is_run_end_encoded(kind):
        return own + len(array) * max(sizes(array.values).to_pylist(), default=0)
    if pa.types.is_struct(kind):
        return own + sum(map(_array_size, array.flatten()))
    if pa.types.is_list_view(kind) or pa.types.is_large_list_view(kind):
        # Views may overlap, so that what they show may be far larger than what is stored.
        n_shown = pc.sum(pc.list_value_length(array)).as_py() or 0
        return own + n_shown * max(sizes(array.values).to_pylist(), default=0)
    if pa.types.is_map(kind):
        first, last = (array.offsets[i].as_py() for i in (0, len(array)))
        return own + sum(
            _array_size(x.slice(first, last - first)) for x in (array.keys, array.items)
        )
    if pa.types.is_nested(kind) and not pa.types.is_union(kind):
        return own + _array_size(array.flatten())
    return own + _bytes_of(array)


def _bytes_of(array: Any) -> int:
    """Bytes of the strings of an array; of other values, those that are stored."""
    kind = array.type
    if pa.types.is_string_view(kind) or pa.types.is_binary_view(kind):  # they may overlap, too
        return sum(len(value.as_buffer()) for value in array if value.is_valid)
    if kind in _STRINGS:
        return pc.sum(pc.binary_length(array)).as_py() or 0
    return array.nbytes


def sizes(array: Any) -> Any:
    """Bytes of each value: an int64 array."""
    if array.type in _STRINGS:
        return pc.add(pc.cast(pc.fill_null(pc.binary_length(array), 0), pa.int64()), _VALUE_BYTES)
    return pa.array([_array_size(array.slice(i, 1)) for i in range(len(array))], pa.int64())


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
        return column.cast(with_bytes(column.type)).to_pylist()[0]
    except (ValueError, OverflowError):
        return str(column)


def with_bytes(kind: Any) -> Any:
    """Return the Arrow type with its strings, nested ones too, replaced by bytes."""
    if pa.types.is_string(kind):
        return pa.binary()
    if pa.types.is_large_string(kind):
        return pa.large_binary()
    if pa.types.is_list(kind):
        return pa.list_(with_bytes(kind.value_type))
    if pa.types.is_struct(kind):
        return pa.struct([(field.name, with_bytes(field.type)) for field in kind])
    return kind
