"""Rows of datasets: of the hub, and of folders that save_to_disk wrote."""

import itertools
import json
from collections.abc import Iterator
from typing import Any

import datasets

# Private, but the only list of the names that load_dataset takes for readers of local files.
from datasets.packaged_modules import _PACKAGED_DATASETS_MODULES
from fsspec.implementations.local import LocalFileSystem

from gradgate.common.redaction import redacted
from gradgate.config import DataConfig
from gradgate.data.rows import RawRow
from gradgate.data.source_errors import hub_error
from gradgate.data.table_rows import read_table
from gradgate.errors import DataError

_BATCH_ROWS = 128


def read_saved_splits(config: DataConfig, store: Any, path: str) -> Iterator[RawRow]:
    """Read the chosen split of a save_to_disk folder.

    Raises:
        DataError: The folder is damaged, or `data.split` is missing or unknown.
    """
    try:
        splits = json.loads(store.cat_file(f"{path}/dataset_dict.json"))["splits"]
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{redacted(config.source)}: dataset_dict.json is damaged") from error
    return read_saved(store, f"{path}/{_one_split(splits, config)}")


def read_saved(store: Any, path: str) -> Iterator[RawRow]:
    """Read a save_to_disk folder without splits, or one split.

    Raises:
        DataError: The folder is damaged or has no rows.
    """
    is_local = isinstance(store, LocalFileSystem)
    url = path if is_local else store.unstrip_protocol(path)
    try:
        dataset = datasets.load_from_disk(url, storage_options=store.storage_options or None)
    except IndexError as error:  # datasets 5.2 saves no file for no rows, and cannot load that
        raise DataError(f"{redacted(url)} has no rows") from error
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{redacted(url)} is no readable save_to_disk folder: {error}") from error
    return dataset_rows(dataset)


def _one_split(splits: list[str], config: DataConfig) -> str:
    names = ", ".join(map(str, splits))
    if config.split is None and len(splits) != 1:
        raise DataError(f"{redacted(config.source)} has the splits {names}; name one in data.split")
    if config.split is not None and config.split not in splits:
        raise DataError(
            f"{redacted(config.source)} has no split {config.split!r}; data.split is one of {names}"
        )
    return config.split or splits[0]


def read_hub(config: DataConfig) -> Iterator[RawRow]:
    """Read a dataset of the hub.

    Raises:
        DataError: There is none of that id, name, split or revision.
        TransientError: The hub did not answer.
    """
    source = config.source
    if source in _PACKAGED_DATASETS_MODULES:  # load_dataset would read the working directory
        raise DataError(f"{source}: no such file or folder, and no dataset of the hub")
    try:
        loaded = datasets.load_dataset(
            source, name=config.name, split=config.split, revision=config.revision
        )
    except Exception as error:  # load_dataset names no closed set of errors
        raise hub_error(error, source) from error
    if isinstance(loaded, datasets.DatasetDict):
        loaded = loaded[_one_split(list(loaded), config)]
    return dataset_rows(loaded)


def dataset_rows(dataset: Any) -> Iterator[RawRow]:
    """The rows of a `datasets.Dataset`, a batch of it in memory at a time."""
    numbers = itertools.count()
    for table in dataset.with_format("arrow").iter(batch_size=_BATCH_ROWS):
        yield from read_table(table, numbers)
