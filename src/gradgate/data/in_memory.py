"""Rows that are in memory: a `datasets.Dataset`, or any iterable of mappings."""

from collections.abc import Iterable, Iterator, Mapping

import datasets
import pandas as pd

from gradgate.data.hub import dataset_rows
from gradgate.data.rows import RawRow, written
from gradgate.data.transformed import is_made_anew
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
        return RawRow(number, dict(value), "")
    if isinstance(value, Mapping):
        return RawRow(number, None, written(value), "a column whose name is no text")
    return RawRow(number, None, written(value), f"a {type(value).__name__}, not a mapping")
