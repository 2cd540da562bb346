"""Rows of datasets: of the hub, and of folders that save_to_disk wrote."""

import itertools
import json
from collections.abc import Iterator
from typing import Any

import datasets

# Private, but the only list of the names that load_dataset takes for readers of local files.
from datasets.packaged_modules import _PACKAGED_DATASETS_MODULES

from gradgate.common.redaction import redacted
from gradgate.config import DataConfig, Limits
from gradgate.data.rows.limits import TableBounds
from gradgate.data.rows.row import RawRow
from gradgate.data.rows.table_rows import read_table
from gradgate.data.sources.counts import check_rows
from gradgate.data.sources.files import read_files
from gradgate.data.sources.origin import Origin
from gradgate.data.sources.source_errors import hub_error
from gradgate.data.sources.splits import one_split
from gradgate.errors import DataError

_BATCH_ROWS = 128


def read_saved_splits(
    config: DataConfig, store: Any, path: str, origin: Origin
) -> Iterator[RawRow]:
    """Read the chosen split of a save_to_disk folder.

    Raises:
        DataError: The folder is damaged, or `data.split` is missing or unknown.
    """
    try:
        splits = json.loads(store.cat_file(f"{path}/dataset_dict.json"))["splits"]
        splits = [_within(str(split)) for split in splits]
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{redacted(config.source)}: dataset_dict.json is damaged") from error
    return read_saved(config, store, f"{path}/{one_split(splits, config)}", origin)


def _within(name: str) -> str:
    """A name of a file of the folder.

    Raises:
        ValueError: It is one outside of it.
    """
    if name.startswith("/") or "\\" in name or {"", ".", ".."}.intersection(name.split("/")):
        raise ValueError(f"{name} is no name within the folder")
    return name


def read_saved(config: DataConfig, store: Any, path: str, origin: Origin) -> Iterator[RawRow]:
    """Read a save_to_disk folder without splits, or one split.

    Its Arrow files are read by our own reader: `datasets.load_from_disk` takes a stream that was
    cut between two batches for a whole one.

    Raises:
        DataError: The folder is damaged, or has no rows or fewer than it says.
    """
    shown = redacted(path)
    try:
        state = json.loads(store.cat_file(f"{path}/state.json"))
        names = [_within(str(entry["filename"])) for entry in state["_data_files"]]
        moved = state.get("_indices_data_files")
        stated = _stated_rows(store, path, state.get("_split"))
    except (ValueError, KeyError, TypeError, AttributeError, FileNotFoundError) as error:
        raise DataError(
            f"{shown} is no readable save_to_disk folder: state.json or dataset_info.json is "
            "missing or damaged"
        ) from error
    if moved:
        raise DataError(
            f"{shown} was saved by an old version of datasets, with its rows in another order; "
            "load it with datasets and save it anew"
        )
    if not names:  # datasets 5.2 saves no file for no rows, and cannot load that
        raise DataError(f"{shown} has no rows")
    rows = read_files(store, [f"{path}/{name}" for name in names], config, origin)
    stated = None if config.expected_rows else stated
    return check_rows(rows, stated, shown, "dataset_info.json")


def _stated_rows(store: Any, path: str, split: str | None) -> int | None:
    """How many rows dataset_info.json says that the split has."""
    info = json.loads(store.cat_file(f"{path}/dataset_info.json"))
    found = ((info.get("splits") or {}).get(split) or {}).get("num_examples")
    return found if isinstance(found, int) else None


def read_hub(config: DataConfig, origin: Origin) -> Iterator[RawRow]:
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
        loaded = loaded[one_split(list(loaded), config)]
    origin.of_hub([one["filename"] for one in loaded.cache_files])
    return dataset_rows(loaded, config.limits)


def dataset_rows(dataset: Any, limits: Limits | None = None) -> Iterator[RawRow]:
    """The rows of a `datasets.Dataset`, a batch of it in memory at a time."""
    numbers = itertools.count()
    bounds = None if limits is None else TableBounds("the dataset", limits)
    for table in dataset.with_format("arrow").iter(batch_size=_BATCH_ROWS):
        yield from read_table(table, numbers, bounds)
