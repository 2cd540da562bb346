"""Where rows come from: files, folders, stores, save_to_disk and the hub, one row at a time."""

import io
import itertools
import json
import lzma
import posixpath
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import aiohttp
import datasets
import fsspec
import httpx
import huggingface_hub
import pyarrow as pa
import pyarrow.parquet as pq

# Private, but the only list of the names that load_dataset takes for readers of local files.
from datasets.packaged_modules import _PACKAGED_DATASETS_MODULES
from fsspec.implementations.local import LocalFileSystem

from gradgate.config import DataConfig
from gradgate.errors import DataError, GradgateError, TransientError
from gradgate.readers import RawRow, read_csv, read_json, read_lines, read_table, without_bom
from gradgate.redaction import redacted

__all__ = ["RawRow", "open_rows"]

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
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
_BATCH_ROWS = 128
_READ_ERRORS = (
    *(OSError, EOFError, ImportError, zlib.error, lzma.LZMAError),
    *(pa.ArrowException, aiohttp.ClientError),
)
_NO_ANSWER = (
    *(ConnectionError, TimeoutError, httpx.TransportError),
    *(aiohttp.ClientConnectionError, aiohttp.ClientPayloadError),
)


def open_rows(config: DataConfig) -> Iterator[RawRow]:
    """Find `config.source` and read it, files of a folder in sorted order.

    The source is looked for in this call; errors of its content come while iterating.

    Raises:
        DataError: Nothing is there, it is not readable or empty, or a setting does not fit it
            (an unknown split, a revision for a file).
        TransientError: A remote store or the hub did not answer.
    """
    with _translated(config.source):
        rows = _find(config)
    return _not_empty(rows, config.source)


def _not_empty(rows: Iterator[RawRow], source: str) -> Iterator[RawRow]:
    empty = True
    with _translated(source):
        for row in rows:
            empty = False
            yield row
    if empty:
        raise DataError(f"{redacted(source)} has no rows")


def _find(config: DataConfig) -> Iterator[RawRow]:
    source = config.source
    try:
        store, path = fsspec.core.url_to_fs(source)
    except ValueError as error:  # an unknown protocol
        raise DataError(f"{redacted(source)}: {error}") from error
    found = _entry_type(store, path)
    if found == "directory":
        return _folder(config, store, path)
    if found is not None:
        return _files(config, store, [path])
    if _kind(source) is None and _HUB_ID.fullmatch(source):
        return _hub(config)
    raise DataError(f"{redacted(source)}: no such file or folder")


def _entry_type(store: Any, path: str) -> str | None:
    try:
        return str(store.info(path)["type"])
    except (FileNotFoundError, NotADirectoryError) as error:
        # fsspec's HTTP store says "not found" for an unreachable host and a forbidden file, too.
        cause = error.__cause__
        if cause is not None and (_is_transient(cause) or _http_status(cause) in (401, 403)):
            raise
        return None


def _refuse(config: DataConfig, what: str, *fields: str) -> None:
    """A setting that the source cannot obey is an error, never ignored."""
    values = {"name": config.name, "split": config.split, "revision": config.revision}
    given = [f"data.{field}" for field in fields if values[field] is not None]
    if given:
        raise DataError(
            f"{redacted(config.source)} is {what} and cannot obey {', '.join(given)}; leave it out"
        )


# Files and folders


def _suffixes(path: str) -> tuple[str, str]:
    """Return the extension, and that of the compression; "" where there is none."""
    name = posixpath.basename(path.split("?")[0] if "://" in path else path).lower()
    stem, suffix = posixpath.splitext(name)
    return (posixpath.splitext(stem)[1], suffix) if suffix in _COMPRESSIONS else (suffix, "")


def _kind(path: str) -> Kind | None:
    suffix, compression = _suffixes(path)
    kind = _KINDS.get(suffix)
    return None if compression and kind in ("parquet", "arrow") else kind


def _folder(config: DataConfig, store: Any, path: str) -> Iterator[RawRow]:
    if _entry_type(store, f"{path}/dataset_dict.json"):
        return _saved_splits(config, store, path)
    if _entry_type(store, f"{path}/state.json"):
        _refuse(config, "a save_to_disk folder without splits", "name", "split", "revision")
        return _saved(store, path)
    return _files(config, store, _data_files(store, path, redacted(config.source)))


def _data_files(store: Any, folder: str, shown: str) -> list[str]:
    files = [path for path in sorted(store.find(folder)) if not _is_ignored(path, folder)]
    if not files:
        raise DataError(f"{shown} has no rows: there is no data file in the folder")
    kinds = sorted({_kind(path) or f"unknown ({posixpath.basename(path)})" for path in files})
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


def _files(config: DataConfig, store: Any, paths: list[str]) -> Iterator[RawRow]:
    _refuse(config, "a file or a folder of files", "name", "split", "revision")
    kind = _kind(paths[0])
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
            yield from _text_file(without_bom(io.BufferedReader(file)), kind, path, numbers)


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


# Datasets


def _saved_splits(config: DataConfig, store: Any, path: str) -> Iterator[RawRow]:
    _refuse(config, "a save_to_disk folder", "name", "revision")
    try:
        splits = json.loads(store.cat_file(f"{path}/dataset_dict.json"))["splits"]
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{redacted(config.source)}: dataset_dict.json is damaged") from error
    return _saved(store, f"{path}/{_one_split(splits, config)}")


def _saved(store: Any, path: str) -> Iterator[RawRow]:
    is_local = isinstance(store, LocalFileSystem)
    url = path if is_local else store.unstrip_protocol(path)
    try:
        dataset = datasets.load_from_disk(url, storage_options=store.storage_options or None)
    except IndexError as error:  # datasets 5.2 saves no file for no rows, and cannot load that
        raise DataError(f"{redacted(url)} has no rows") from error
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{redacted(url)} is no readable save_to_disk folder: {error}") from error
    return _dataset_rows(dataset)


def _one_split(splits: list[str], config: DataConfig) -> str:
    names = ", ".join(map(str, splits))
    if config.split is None and len(splits) != 1:
        raise DataError(f"{redacted(config.source)} has the splits {names}; name one in data.split")
    if config.split is not None and config.split not in splits:
        raise DataError(
            f"{redacted(config.source)} has no split {config.split!r}; data.split is one of {names}"
        )
    return config.split or splits[0]


def _hub(config: DataConfig) -> Iterator[RawRow]:
    source = config.source
    if source in _PACKAGED_DATASETS_MODULES:  # load_dataset would read the working directory
        raise DataError(f"{source}: no such file or folder, and no dataset of the hub")
    try:
        loaded = datasets.load_dataset(
            source, name=config.name, split=config.split, revision=config.revision
        )
    except Exception as error:  # load_dataset names no closed set of errors
        raise _hub_error(error, source) from error
    if isinstance(loaded, datasets.DatasetDict):
        loaded = loaded[_one_split(list(loaded), config)]
    return _dataset_rows(loaded)


def _dataset_rows(dataset: Any) -> Iterator[RawRow]:
    numbers = itertools.count()
    for table in dataset.with_format("arrow").iter(batch_size=_BATCH_ROWS):
        yield from read_table(table, numbers)


# Errors


@contextmanager
def _translated(source: str) -> Iterator[None]:
    try:
        yield
    except _READ_ERRORS as error:
        shown = redacted(source)
        cause = error.__cause__ or error
        problem = (str(cause) or type(cause).__name__).replace(source, shown)
        if _is_transient(error):
            raise TransientError(f"{shown} cannot be reached: {problem}") from error
        raise DataError(f"{shown} cannot be read: {problem}") from error


def _hub_error(error: Exception, source: str) -> GradgateError:
    problem = f"{type(error).__name__}: {error}"
    if huggingface_hub.is_offline_mode():
        return DataError(
            f"{source} is no local file or folder, and HF_HUB_OFFLINE forbids to ask the hub; "
            f"unset it, or name a local copy ({problem})"
        )
    if not isinstance(error, datasets.exceptions.DatasetNotFoundError) and _is_transient(error):
        return TransientError(f"the hub did not answer for the dataset {source} ({problem})")
    return DataError(
        f"{source} is no local file or folder, and the hub cannot give that dataset, name, split "
        f"or revision ({problem})"
    )


def _is_transient(error: BaseException) -> bool:
    """Whether a missing answer is anywhere in the history of an error.

    The context is followed even where it is suppressed: datasets re-raises "from None".
    """
    cause = error.__cause__ or error.__context__
    return (
        isinstance(error, _NO_ANSWER)
        or _may_pass(_http_status(error))
        or (cause is not None and _is_transient(cause))
    )


def _may_pass(status: int | None) -> bool:
    return status is not None and (status in (408, 429) or status >= 500)


def _http_status(error: BaseException) -> int | None:
    if isinstance(error, aiohttp.ClientResponseError):
        return error.status
    if isinstance(error, huggingface_hub.errors.HfHubHTTPError | httpx.HTTPStatusError):
        return error.response.status_code
    return None
