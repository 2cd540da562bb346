"""Samples as rows of a training."""

from collections.abc import Iterable
from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from datasets import Dataset

from gradgate.data.tokenized import IGNORED
from gradgate.data.tokens import Tokens
from gradgate.errors import DataError

_BATCH_ROWS = 256
_IDS = pa.list_(pa.int32())
COLUMNS = pa.schema([("input_ids", _IDS), ("labels", _IDS)])


def training_rows(samples: Iterable[Tokens], output: Path) -> Dataset:
    """Write `input_ids` and `labels` of samples, as the Trainer reads them, and map the file.

    Raises:
        DataError: There is no sample.
    """
    n = 0
    with pa.ipc.new_stream(output, COLUMNS) as writer:
        rows = ((sample.input_ids, sample.is_target) for sample in samples)
        while batch := list(islice(rows, _BATCH_ROWS)):
            writer.write_batch(training_batch(batch))
            n += len(batch)
    if n == 0:
        raise DataError("not a single row is left to train on")
    return Dataset.from_file(str(output))


def training_batch(rows: Iterable[tuple[npt.ArrayLike, npt.ArrayLike]]) -> pa.RecordBatch:
    """`input_ids`, and as `labels` the same where the loss counts them (of ids and marks)."""
    columns = [
        (row := np.asarray(ids, np.int32), np.where(marks, row, np.int32(IGNORED)))
        for ids, marks in rows
    ]
    arrays = [pa.array([column[i] for column in columns], _IDS) for i in range(2)]
    return pa.RecordBatch.from_arrays(arrays, schema=COLUMNS)
