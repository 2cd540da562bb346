"""Rows of Parquet files, whole and bounded."""

from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from gradgate.config import Limits
from gradgate.data.rows.limits import TableBounds, check_columns, check_expansion
from gradgate.data.rows.not_data import HEAD, check_head
from gradgate.data.rows.parquet_footer import Chunk, read_chunks
from gradgate.data.rows.row import RawRow
from gradgate.data.rows.table_rows import read_table, sizes
from gradgate.errors import DataError

_BATCH_ROWS = 128
# Rows of a batch whose strings are stored once. Each batch copies what is stored, so few are made.
_DICTIONARY_BATCH_ROWS = 4096
_MAX_DECODED = 512 << 20  # bytes that a batch may have when each value is a string of its own
_LEVEL_BYTES = 4  # of a value in memory, as a place in a list or in a dictionary
_MAGIC = b"PAR1"


def read_parquet(file: Any, path: str, numbers: Iterator[int], limits: Limits) -> Iterator[RawRow]:
    """Read a Parquet file, a batch of rows in memory at a time.

    Args:
        file: Open for reading bytes.
        path: The file as errors name it, without credentials.
        numbers: Of the rows.
        limits: Those of the configuration.

    Raises:
        DataError: It is cut, has fewer rows than its footer says, or grows beyond a bound.
        OSError, pa.ArrowException: It is damaged.
    """
    n_bytes = _check_ends(file, path)
    # With the default, pre_buffer=True, all that was read stays in memory until the end.
    options = {"pre_buffer": False, "page_checksum_verification": True}
    table = pq.ParquetFile(file, **options)
    footer = table.metadata
    check_columns(path, footer.num_columns, limits)
    groups = read_chunks(file, path)
    _check_growth(groups, n_bytes, path, limits)
    texts = sorted({chunk.path for group in groups for chunk in group if chunk.has_stored_text})
    stored_once = pq.ParquetFile(file, metadata=footer, read_dictionary=texts, **options)
    bounds = TableBounds(path, limits, n_bytes)
    n_rows = 0
    for group, chunks in enumerate(groups):
        is_large = _decoded(stored_once, group, chunks) > _MAX_DECODED
        reader, size = (stored_once, _DICTIONARY_BATCH_ROWS) if is_large else (table, _BATCH_ROWS)
        for batch in reader.iter_batches(size, row_groups=[group]):
            n_rows += batch.num_rows
            yield from read_table(batch, numbers, bounds)
    if n_rows != footer.num_rows:
        raise DataError(
            f"{path} has {n_rows:,} rows, and its footer says {footer.num_rows:,}; get it anew"
        )


def _check_ends(file: Any, path: str) -> int:
    """The size of the file, whose first and last bytes are those of Parquet."""
    head = file.read(HEAD)
    check_head(head, path, ".parquet")
    n_bytes = int(file.seek(0, 2))
    file.seek(max(0, n_bytes - len(_MAGIC)))
    if head.startswith(_MAGIC) and file.read(len(_MAGIC)) != _MAGIC:
        raise DataError(f"{path} is cut: Parquet ends with its footer; get it anew")
    file.seek(0)
    return n_bytes


def _check_growth(groups: list[list[Chunk]], n_bytes: int, path: str, limits: Limits) -> None:
    expanded = sum(
        chunk.n_bytes + _LEVEL_BYTES * chunk.n_values for group in groups for chunk in group
    )
    check_expansion(path, expanded, n_bytes, limits)


def _decoded(table: Any, group: int, chunks: list[Chunk]) -> int:
    """The most bytes that a batch of a row group can have, by its longest stored values.

    A dictionary says a value once and means it often, so a small file can hold any amount of text.
    A list may have all values of the group in one row.
    """
    stored = [chunk for chunk in chunks if chunk.has_stored_text and chunk.n_values]
    if not stored:
        return 0
    names = [chunk.path for chunk in stored]
    batch = next(table.iter_batches(1, row_groups=[group], columns=names), None)
    if batch is None:  # a damaged footer, whose rows will be missing
        return 0
    longest = [pc.max(sizes(array)).as_py() or 0 for array in _dictionaries(batch.columns)]
    counts = [
        chunk.n_values if "." in chunk.path else min(chunk.n_values, _BATCH_ROWS)
        for chunk in stored
    ]
    return max(longest, default=0) * max(counts)


def _dictionaries(arrays: list[Any]) -> Iterator[Any]:
    """The stored values of arrays, and of arrays within them."""
    for array in arrays:
        if pa.types.is_dictionary(array.type):
            yield array.dictionary
        elif pa.types.is_struct(array.type):
            yield from _dictionaries([array.field(i) for i in range(array.type.num_fields)])
        elif pa.types.is_map(array.type):
            yield from _dictionaries([array.keys, array.items])
        elif pa.types.is_nested(array.type):
            yield from _dictionaries([array.values])
