"""Rows of files and of folders of files, in any store that fsspec reaches."""

import io
import itertools
import posixpath
from collections.abc import Iterator
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq
from fsspec.implementations.local import LocalFileSystem

from gradgate.common.redaction import redacted
from gradgate.data.csv_rows import read_csv
from gradgate.data.json_rows import read_json, read_lines
from gradgate.data.rows import RawRow
from gradgate.data.table_rows import read_table
from gradgate.errors import DataError

Kind = Literal["jsonl", "json", "csv", "parquet", "arrow"]

_KINDS: dict[str, Kind] = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".csv": "csv",
    ".parquet": "parquet",
    ".arrow": "arrow",
}
_COMPRESSIONS = {".gz": "gzip", ".bz2": "bz2", ".xz": "xz"}
_IGNORED_SUFFIXES = {".md", ".rst", ".txt", ".html", ".pdf", ".png", ".py", ".yaml", ".yml", ".crc"}
_IGNORED_NAMES = {"readme", "license", "licence", "notice", "citation", "copying"}
_BATCH_ROWS = 128
_BOM = b"\xef\xbb\xbf"


def _suffixes(path: str) -> tuple[str, str]:
    """Return the extension, and that of the compression; "" where there is none."""
    name = posixpath.basename(path.split("?")[0] if "://" in path else path).lower()
    stem, suffix = posixpath.splitext(name)
    return (posixpath.splitext(stem)[1], suffix) if suffix in _COMPRESSIONS else (suffix, "")


def kind_of(path: str) -> Kind | None:
    """The kind of file by the extension; None for no data file, or a compressed table."""
    suffix, compression = _suffixes(path)
    kind = _KINDS.get(suffix)
    return None if compression and kind in ("parquet", "arrow") else kind


def data_files(store: Any, folder: str, shown: str) -> list[str]:
    """The data files of a folder, in sorted order.

    Args:
        store: An fsspec file system.
        folder: Path in it.
        shown: The folder as errors name it, without credentials.

    Raises:
        DataError: There are none, or they are of several kinds.
    """
    files = [path for path in sorted(store.find(folder)) if not _is_ignored(path, folder)]
    if not files:
        raise DataError(f"{shown} has no rows: there is no data file in the folder")
    kinds = sorted({kind_of(path) or f"unknown ({posixpath.basename(path)})" for path in files})
    if len(kinds) > 1:
        raise DataError(
            f"{shown} mixes files of several kinds: {', '.join(kinds[:8])}; "
            "keep one kind in the folder, or name a file"
        )
    return files


def _is_ignored(path: str, folder: str) -> bool:
    parts = posixpath.relpath(path, folder).lower().split("/")
    stem, suffix = posixpath.splitext(parts[-1])
    hidden = any(part.startswith((".", "_")) for part in parts)
    return hidden or suffix in _IGNORED_SUFFIXES or (stem in _IGNORED_NAMES and not suffix)


def read_files(store: Any, paths: list[str]) -> Iterator[RawRow]:
    """Read files of one kind one after the other, their rows numbered through.

    Raises:
        DataError: The first file is of no known kind.
    """
    kind = kind_of(paths[0])
    if kind is None:
        known = ", ".join(sorted(_KINDS))
        raise DataError(f"{redacted(paths[0])} is no data file; the known kinds are {known}")
    numbers = itertools.count()
    return itertools.chain.from_iterable(_file(store, path, kind, numbers) for path in paths)


def _file(store: Any, path: str, kind: Kind, numbers: Iterator[int]) -> Iterator[RawRow]:
    if kind == "arrow":
        yield from _arrow(store, path, numbers)
    elif kind == "parquet":
        with store.open(path, "rb") as file:
            for batch in pq.ParquetFile(file, pre_buffer=False).iter_batches(
                batch_size=_BATCH_ROWS
            ):
                yield from read_table(batch, numbers)
    else:
        compression = _COMPRESSIONS.get(_suffixes(path)[1])
        with store.open(path, "rb", compression=compression) as file:
            yield from _text_file(_without_bom(io.BufferedReader(file)), kind, path, numbers)


def _text_file(
    stream: io.BufferedReader, kind: Kind, path: str, numbers: Iterator[int]
) -> Iterator[RawRow]:
    if kind == "csv":
        return read_csv(stream, redacted(path), numbers)
    if kind == "json":
        return read_json(stream, redacted(path), numbers)
    return read_lines(stream, numbers)


def _arrow(store: Any, path: str, numbers: Iterator[int]) -> Iterator[RawRow]:
    # Memory-mapped where it can be: a record batch may be as large as the file.
    is_local = isinstance(store, LocalFileSystem)
    with pa.memory_map(path) if is_local else store.open(path, "rb") as file:
        is_file_format = file.read(6) == b"ARROW1"
        file.seek(0)
        if is_file_format:
            reader = pa.ipc.open_file(file)
            batches = (reader.get_batch(i) for i in range(reader.num_record_batches))
        else:
            batches = pa.ipc.open_stream(file)
        for batch in batches:
            yield from read_table(batch, numbers)


def _without_bom(stream: io.BufferedReader) -> io.BufferedReader:
    """Skip a byte order mark."""
    if stream.peek(len(_BOM)).startswith(_BOM):
        stream.read(len(_BOM))
    return stream
