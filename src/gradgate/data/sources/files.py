"""Rows of files and of folders of files, in any store that fsspec reaches."""

import io
import itertools
import posixpath
from collections.abc import Iterator
from typing import Any, Literal

from gradgate.common.redaction import redacted
from gradgate.config import DataConfig
from gradgate.data.rows.arrow_rows import read_arrow
from gradgate.data.rows.byte_stream import text_bytes
from gradgate.data.rows.csv_rows import read_csv
from gradgate.data.rows.json_rows import read_json
from gradgate.data.rows.not_data import HEAD, check_head, is_file_extension, unknown_kind
from gradgate.data.rows.parquet_rows import read_parquet
from gradgate.data.rows.row import RawRow
from gradgate.data.sources.origin import Origin
from gradgate.errors import DataError

Kind = Literal["jsonl", "json", "csv", "tsv", "parquet", "arrow"]

_KINDS: dict[str, Kind] = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".csv": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
    ".arrow": "arrow",
}
_COMPRESSIONS = {".gz": "gzip", ".bz2": "bz2", ".xz": "xz", ".zst": "zstd"}
_IGNORED_SUFFIXES = {".md", ".rst", ".txt", ".html", ".pdf", ".png", ".py", ".yaml", ".yml"}
_IGNORED_NAMES = {"readme", "license", "licence", "notice", "citation", "copying"}


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


def has_file_extension(path: str) -> bool:
    """Whether a name ends as files do; a dataset of the hub may be called x-1.5, but not x.zip."""
    suffix, compression = _suffixes(path)
    return bool(compression) or is_file_extension(suffix) or suffix in _KINDS


def data_files(store: Any, folder: str, shown: str) -> list[str]:
    """The data files of a folder, in sorted order.

    What begins with `_` is left out (`_SUCCESS`, `_delta_log`), unless it is of the kind of the
    others: readers of other people take it for data.

    Args:
        store: An fsspec file system.
        folder: Path in it.
        shown: The folder as errors name it, without credentials.

    Raises:
        DataError: There are none.
    """
    there = [path for path in sorted(store.find(folder)) if not _is_ignored(path, folder)]
    aside = {path for path in there if _is_set_aside(path, folder)}
    kinds = {kind_of(path) for path in there if path not in aside}
    files = [path for path in there if path not in aside or kind_of(path) in kinds]
    if not files:
        raise DataError(f"{shown} has no rows: there is no data file in the folder")
    return files


def check_kinds(files: list[str], shown: str) -> None:
    """Refuse files of several kinds.

    Raises:
        DataError: They are.
    """
    kinds = sorted({kind_of(path) or f"unknown ({posixpath.basename(path)})" for path in files})
    if len(kinds) > 1:
        raise DataError(
            f"{shown} mixes files of several kinds: {', '.join(kinds[:8])}; "
            "keep one kind in the folder, or name a file"
        )


def _is_ignored(path: str, folder: str) -> bool:
    parts = posixpath.relpath(path, folder).lower().split("/")
    stem, suffix = posixpath.splitext(parts[-1])
    hidden = any(part.startswith((".", "__")) for part in parts)
    return hidden or suffix in _IGNORED_SUFFIXES or (stem in _IGNORED_NAMES and not suffix)


def _is_set_aside(path: str, folder: str) -> bool:
    return any(part.startswith("_") for part in posixpath.relpath(path, folder).split("/"))


def read_files(
    store: Any, paths: list[str], config: DataConfig, origin: Origin | None = None
) -> Iterator[RawRow]:
    """Read files of one kind one after the other, their rows numbered through.

    Args:
        store: An fsspec file system.
        paths: Paths in it.
        config: Limits, and how CSV is read.
        origin: Is told which files they are.

    Raises:
        DataError: The first file is of no known kind, one is no regular file, or the kind cannot
            obey a setting.
    """
    kind = kind_of(paths[0])
    if kind is None:
        raise DataError(f"{redacted(paths[0])} is no data file; {_known(paths[0])}")
    if config.delimiter is not None and kind not in ("csv", "tsv"):
        raise DataError(
            f"{redacted(paths[0])} is no CSV and cannot obey data.delimiter; leave it out"
        )
    for path in paths:
        if store.info(path)["type"] == "other":
            raise DataError(
                f"{redacted(path)} is a pipe or a device, whose end nobody knows; write it to a "
                "file first"
            )
    if origin is not None:
        origin.of_files(store, paths)
    numbers = itertools.count()
    return itertools.chain.from_iterable(_file(store, x, kind, numbers, config) for x in paths)


def _known(path: str) -> str:
    kinds, packed = ", ".join(sorted(_KINDS)), ", ".join(sorted(_COMPRESSIONS))
    return f"the known kinds are {kinds}; JSON and CSV also with {packed}{unknown_kind(path)}"


def _file(
    store: Any, path: str, kind: Kind, numbers: Iterator[int], config: DataConfig
) -> Iterator[RawRow]:
    shown, limits = redacted(path), config.limits
    if kind == "arrow":
        yield from read_arrow(store, path, numbers, limits)
        return
    with store.open(path, "rb") as file:
        if kind == "parquet":
            yield from read_parquet(file, shown, numbers, limits)
            return
        suffix = _suffixes(path)[1]
        packed = io.BufferedReader(file)
        check_head(packed.peek(HEAD)[:HEAD], shown, suffix)
        stream = text_bytes(packed, _COMPRESSIONS.get(suffix, ""), shown, limits)
        if kind in ("csv", "tsv"):
            delimiter = config.delimiter or ("\t" if kind == "tsv" else None)
            yield from read_csv(stream, shown, numbers, limits, delimiter)
        else:
            yield from read_json(stream, shown, numbers, limits, is_lines=kind == "jsonl")
