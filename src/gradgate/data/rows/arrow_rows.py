"""Rows of Arrow files and streams, whole and valid."""

from collections.abc import Iterator
from typing import Any

import pyarrow as pa
from fsspec.implementations.local import LocalFileSystem

from gradgate.common.redaction import redacted
from gradgate.config import Limits
from gradgate.data.rows.limits import TableBounds, check_columns
from gradgate.data.rows.not_data import HEAD, check_head
from gradgate.data.rows.row import RawRow
from gradgate.data.rows.table_rows import read_table, with_bytes
from gradgate.errors import DataError

_FILE = b"ARROW1"
_CONTINUES = b"\xff\xff\xff\xff"  # before each message since Arrow 0.15
_END = _CONTINUES + bytes(4)


def read_arrow(store: Any, path: str, numbers: Iterator[int], limits: Limits) -> Iterator[RawRow]:
    """Read an Arrow file or stream, a record batch in memory at a time.

    Raises:
        DataError: It is cut, even between two batches; something follows its end; its values
            contradict one another, or a row is too large.
        OSError, pa.ArrowException: It is damaged.
    """
    shown = redacted(path)
    # Memory-mapped where it can be: a record batch may be as large as the file.
    n_bytes = store.size(path)
    bounds = TableBounds(shown, limits, n_bytes)
    is_local = isinstance(store, LocalFileSystem) and n_bytes
    with pa.memory_map(path) if is_local else store.open(path, "rb") as file:
        head = bytes(file.read(HEAD))
        check_head(head, shown, ".arrow")
        file.seek(0)
        is_file = head.startswith(_FILE)
        reader = pa.ipc.open_file(file) if is_file else pa.ipc.open_stream(file)
        check_columns(shown, len(reader.schema), limits)
        for batch in _batches(reader, is_file):
            yield from read_table(_valid(batch, shown), numbers, bounds)
        if head.startswith(_CONTINUES):
            _check_end(file, shown)


def _batches(reader: Any, is_file: bool) -> Iterator[Any]:
    if is_file:
        return (reader.get_batch(i) for i in range(reader.num_record_batches))
    return iter(reader)


def _check_end(file: Any, path: str) -> None:
    """Refuse a stream that lacks its end mark, which a cut between two batches takes away."""
    end = file.tell()
    file.seek(max(0, end - len(_END)))
    tail = bytes(file.read(len(_END) + 1))
    if tail[: len(_END)] != _END:
        raise DataError(
            f"{path} is cut: the Arrow stream has no end mark; get it anew, or close its writer"
        )
    if len(tail) > len(_END):
        raise DataError(
            f"{path}: something follows the end of the Arrow stream; write each stream to a file"
        )


def _valid(batch: Any, path: str) -> Any:
    """A batch whose offsets are within its buffers: others would end the process."""
    try:
        batch.validate(full=True)
    except pa.ArrowInvalid as error:
        if "UTF8" not in str(error):
            raise DataError(f"{path} is damaged: {error}; get it anew") from error
        for column in batch.columns:  # text that is no UTF-8 is a matter of its row
            column.validate()
            column.cast(with_bytes(column.type)).validate(full=True)
    return batch
