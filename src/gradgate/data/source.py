"""Where rows come from: files, folders, stores, save_to_disk and the hub, one row at a time."""

import re
from collections.abc import Iterator
from typing import Any

import fsspec

from gradgate.common.redaction import redacted
from gradgate.config import DataConfig
from gradgate.data.files import data_files, kind_of, read_files
from gradgate.data.hub import read_hub, read_saved, read_saved_splits
from gradgate.data.rows import RawRow
from gradgate.data.source_errors import http_status, is_transient, translated_errors
from gradgate.errors import DataError

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")


def open_rows(config: DataConfig) -> Iterator[RawRow]:
    """Find `config.source` and read it, files of a folder in sorted order.

    The source is looked for in this call; errors of its content come while iterating.

    Raises:
        DataError: Nothing is there, it is not readable or empty, or a setting does not fit it
            (an unknown split, a revision for a file).
        TransientError: A remote store or the hub did not answer.
    """
    with translated_errors(config.source):
        rows = _find(config)
    return _not_empty(rows, config.source)


def _not_empty(rows: Iterator[RawRow], source: str) -> Iterator[RawRow]:
    empty = True
    with translated_errors(source):
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
        _refuse(config, "a file or a folder of files", "name", "split", "revision")
        return read_files(store, [path])
    if kind_of(source) is None and _HUB_ID.fullmatch(source):
        return read_hub(config)
    raise DataError(f"{redacted(source)}: no such file or folder")


def _folder(config: DataConfig, store: Any, path: str) -> Iterator[RawRow]:
    if _entry_type(store, f"{path}/dataset_dict.json"):
        _refuse(config, "a save_to_disk folder", "name", "revision")
        return read_saved_splits(config, store, path)
    if _entry_type(store, f"{path}/state.json"):
        _refuse(config, "a save_to_disk folder without splits", "name", "split", "revision")
        return read_saved(store, path)
    paths = data_files(store, path, redacted(config.source))
    _refuse(config, "a file or a folder of files", "name", "split", "revision")
    return read_files(store, paths)


def _entry_type(store: Any, path: str) -> str | None:
    try:
        return str(store.info(path)["type"])
    except (FileNotFoundError, NotADirectoryError) as error:
        # fsspec's HTTP store says "not found" for an unreachable host and a forbidden file, too.
        cause = error.__cause__
        if cause is not None and (is_transient(cause) or http_status(cause) in (401, 403)):
            raise
        return None


def _refuse(config: DataConfig, kind: str, *fields: str) -> None:
    """A setting that the source cannot obey is an error, never ignored."""
    values = {"name": config.name, "split": config.split, "revision": config.revision}
    given = [f"data.{field}" for field in fields if values[field] is not None]
    if given:
        raise DataError(
            f"{redacted(config.source)} is {kind} and cannot obey {', '.join(given)}; leave it out"
        )
