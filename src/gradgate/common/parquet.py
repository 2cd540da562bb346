"""Parquet tables, read and written in batches, so that memory does not depend on their rows."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from gradgate.errors import DataError

GROUP_ROWS = 4096  # that are written together
PART_ROWS = 65_536  # that are read together, of columns without texts
_GROUP_SIZE = 1 << 20  # characters and tokens; as Python objects they take some 50 MB


def batches(
    path: Path, columns: pa.Schema | Sequence[str], n_rows: int = 256
) -> Iterator[pa.RecordBatch]:
    """Read some columns of a table.

    Args:
        path: The file.
        columns: Names; or a schema that the columns are cast to, none of them null where it says.
        n_rows: Of a batch, at most.

    Raises:
        DataError: The file is missing or damaged, or its columns are others.
    """
    schema = columns if isinstance(columns, pa.Schema) else None
    names = list(columns) if schema is None else schema.names
    # With the default, pre_buffer=True, all that was read stays in memory until the end.
    with data_errors(path), pq.ParquetFile(path, pre_buffer=False) as file:
        file.schema_arrow.empty_table().select(names)  # fails when one is missing, without rows too
        for batch in file.iter_batches(n_rows, columns=names):
            chosen = batch.select(names)
            yield chosen if schema is None else chosen.cast(schema)


def tables(path: Path, columns: Sequence[str]) -> Iterator[pa.Table]:
    """The rows of a table, in parts of `PART_ROWS`; as `batches`."""
    for batch in batches(path, columns, PART_ROWS):
        yield pa.Table.from_batches([batch])


def table(
    path: Path, columns: Sequence[str] | None = None, filters: pc.Expression | None = None
) -> pa.Table:
    """Read a table.

    Args:
        path: The file.
        columns: Names; all when absent.
        filters: Which rows; all when absent.

    Raises:
        DataError: The file is missing or damaged, or lacks a column.
    """
    names = None if columns is None else list(columns)
    with data_errors(path):
        return pq.read_table(path, columns=names, filters=filters)


@contextmanager
def data_errors(path: Path) -> Iterator[None]:
    """Turn what goes wrong with a file into a `DataError` that names it."""
    try:
        yield
    except (OSError, ValueError, KeyError, pa.ArrowException) as error:
        raise DataError(f"{path} cannot be read: {error}") from error


class GroupWriter:
    """Writes rows to a Parquet file in groups that are bounded in rows and in size."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        """Begin a file."""
        self.n_rows = 0
        self._schema = schema
        self._writer = pq.ParquetWriter(path, schema, compression="zstd")
        self._group: list[dict[str, object]] = []
        self._group_size = 0

    def add(self, row: dict[str, object], size: int = 0) -> None:
        """Write a row; `size`: characters and tokens in it, where they may be many."""
        self.n_rows += 1
        self._group.append(row)
        self._group_size += size
        if len(self._group) >= GROUP_ROWS or self._group_size >= _GROUP_SIZE:
            self._write_group()

    def close(self) -> None:
        """Write what is left."""
        self._write_group()
        self._writer.close()

    def _write_group(self) -> None:
        if self._group:
            self._writer.write_table(pa.Table.from_pylist(self._group, schema=self._schema))
        self._group = []
        self._group_size = 0
