"""Where rows come from: files, folders, stores, save_to_disk and the hub, one row at a time."""

import os
import re
from collections.abc import Iterator
from typing import Any

import fsspec

from gradgate.common.redaction import redacted
from gradgate.config import DataConfig
from gradgate.data.rows.row import RawRow
from gradgate.data.sources.counts import check_rows
from gradgate.data.sources.files import check_kinds, data_files, has_file_extension, read_files
from gradgate.data.sources.hub import read_hub, read_saved, read_saved_splits
from gradgate.data.sources.origin import Origin
from gradgate.data.sources.source_errors import (
    http_status,
    is_transient,
    missing_package,
    translated_errors,
)
from gradgate.data.sources.splits import chosen_split
from gradgate.errors import DataError

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")


def check_source(source: str) -> None:
    """Refuse a path at which nothing lies; stores and the hub are not asked.

    Raises:
        DataError: Nothing is there.
    """
    may_be_hub = _HUB_ID.fullmatch(source) is not None and not has_file_extension(source)
    if "://" not in source and not may_be_hub and not os.path.lexists(os.path.expanduser(source)):
        raise DataError(f"{redacted(source)}: no such file or folder")


def open_rows(config: DataConfig, origin: Origin | None = None) -> Iterator[RawRow]:
    """Find `config.source` and read it, files of a folder in sorted order.

    The source is looked for in this call; errors of its content come while iterating. `origin` is
    told what was found.

    Raises:
        DataError: Nothing is there, it is not readable or empty, or a setting does not fit it
            (an unknown split, a revision for a file); it has fewer rows than its metadata says, or
            other than `config.expected_rows`.
        TransientError: A remote store or the hub did not answer.
    """
    with translated_errors(config.source):
        rows = _find(config, origin or Origin())
    return _counted(rows, config)


def _counted(rows: Iterator[RawRow], config: DataConfig) -> Iterator[RawRow]:
    n_rows, shown = 0, redacted(config.source)
    with translated_errors(config.source):
        for row in rows:
            n_rows += 1
            yield row
    if n_rows == 0:
        raise DataError(f"{shown} has no rows")
    if config.expected_rows not in (None, n_rows):
        raise DataError(
            f"{shown} has {n_rows:,} rows, and not data.expected_rows ({config.expected_rows:,})"
        )


def _find(config: DataConfig, origin: Origin) -> Iterator[RawRow]:
    source = config.source
    try:
        store, path = fsspec.core.url_to_fs(source)
    except ImportError as error:
        raise missing_package(error, source) from error
    except ValueError as error:  # an unknown protocol
        raise DataError(f"{redacted(source)}: {error}") from error
    found = _entry_type(store, path)
    if found == "directory":
        origin.of_folder(path)
        return _folder(config, store, path, origin)
    if found is not None:
        _refuse(config, "a file or a folder of files", "name", "split", "revision")
        return read_files(store, [path], config, origin)
    if _HUB_ID.fullmatch(source) and not has_file_extension(source):
        folder = source.partition("/")[0]
        if "/" in source and os.path.isdir(folder):
            raise DataError(
                f"{source} is not looked up on the hub, since {folder} is a folder here "
                f"(hf://datasets/{source} is): no such file or folder"
            )
        _refuse(config, "no local file or folder but a hub id", "delimiter")
        return read_hub(config, origin)
    raise DataError(f"{redacted(source)}: no such file or folder")


def _folder(config: DataConfig, store: Any, path: str, origin: Origin) -> Iterator[RawRow]:
    if _entry_type(store, f"{path}/dataset_dict.json"):
        _refuse(config, "a save_to_disk folder", "name", "revision", "delimiter")
        return read_saved_splits(config, store, path, origin)
    if _entry_type(store, f"{path}/state.json"):
        _refuse(
            config,
            "a save_to_disk folder without splits",
            *("name", "split", "revision", "delimiter"),
        )
        return read_saved(config, store, path, origin)
    _refuse(config, "a file or a folder of files", "revision")
    shown = redacted(config.source)
    split = chosen_split(config, store, path, data_files(store, path, shown))
    check_kinds(split.paths, shown)
    stated = None if config.expected_rows else split.n_rows
    rows = read_files(store, split.paths, config, origin)
    return check_rows(rows, stated, shown, "README.md")


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
    given = [f"data.{field}" for field in fields if getattr(config, field) is not None]
    if given:
        raise DataError(
            f"{redacted(config.source)} is {kind} and cannot obey {', '.join(given)}; leave it out"
        )
