"""Rows that are in memory: a `datasets.Dataset`, or any iterable of mappings."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import datasets
import numpy as np
import pandas as pd
import pyarrow as pa

from gradgate.data.rows.row import RawRow, written
from gradgate.data.sources.hub import dataset_rows
from gradgate.data.sources.transformed import is_made_anew
from gradgate.errors import ConfigError, DataError


def rows_in_memory(source: object) -> Iterator[RawRow]:
    """The rows of an object.

    Args:
        source: A `datasets.Dataset` or `IterableDataset`, or an iterable of mappings; any
            other value in it becomes a row that cannot be read.

    Raises:
        ConfigError: It is a dataset with a transform, whose rows are others than those it stores.
        DataError: It is nothing of that, such as a dictionary of splits.
    """
    if isinstance(source, datasets.DatasetDict | datasets.IterableDatasetDict):
        names = ", ".join(map(str, source))
        raise DataError(f"the dataset has the splits {names}; pass one of them")
    if is_made_anew(source):
        raise ConfigError(
            "the dataset has a transform, which makes its rows anew at each reading, so that "
            "others would be judged than trained on; use Dataset.map"
        )
    if isinstance(source, datasets.Dataset):
        return dataset_rows(source)
    if isinstance(source, datasets.IterableDataset) and source.features is not None:
        return dataset_rows(source)  # images and the like as they are stored, and not as objects
    is_frame = isinstance(source, pd.DataFrame)  # whose iteration gives the names of its columns
    if is_frame or isinstance(source, str | bytes | Mapping) or not isinstance(source, Iterable):
        cure = "; pass datasets.Dataset.from_pandas(frame)" if is_frame else ""
        raise DataError(
            f"rows are a datasets.Dataset or a list of dictionaries, not a "
            f"{type(source).__name__}{cure}"
        )
    return (_row(number, value) for number, value in enumerate(source))


def _row(number: int, value: object) -> RawRow:
    if isinstance(value, Mapping) and all(isinstance(name, str) for name in value):
        return RawRow(number, _plain_row(value), "")
    if isinstance(value, Mapping):
        return RawRow(number, None, written(value), "a column whose name is no text")
    return RawRow(number, None, written(value), f"a {type(value).__name__}, not a mapping")


def _plain_row(row: Mapping[str, Any]) -> dict[str, object]:
    try:
        return {name: _plain(value) for name, value in row.items()}
    except RecursionError:  # nested too deeply for JSON, too, which is said where it is kept
        return dict(row)


def _plain(value: Any) -> object:
    """What JSON would give: lists for all sequences but texts, and dictionaries for mappings."""
    if isinstance(value, pa.Scalar):
        value = value.as_py()
    elif isinstance(value, pa.Array | pa.ChunkedArray):
        value = value.to_pylist()
    elif isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, Mapping):
        return {name: _plain(one) for name, one in value.items()}
    is_text = isinstance(value, str | bytes | bytearray | memoryview)
    return [_plain(one) for one in value] if isinstance(value, Sequence) and not is_text else value
