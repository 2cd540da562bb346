"""Tables of single rows with their texts, for people."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from gradgate.common.files import written_whole
from gradgate.data.prepare import SampleFile
from gradgate.data.sample import Sample, prompt_and_target
from gradgate.errors import DataError

_BATCH_ROWS = 256


def write_listing(path: Path, lines: pa.Table, samples: Path, schema: pa.Schema) -> None:
    """Write lines of a table of flags with the prompts and targets of their rows.

    Args:
        path: The file to write.
        lines: In row order.
        samples: A samples.parquet with the same rows, and more.
        schema: Of the file: the columns of `lines`, `prompt` and `target`.

    Raises:
        DataError: A row has no sample.
    """
    with written_whole(path) as part, pq.ParquetWriter(part, schema) as writer:
        texts = iter(SampleFile(samples))
        for batch in lines.to_batches(max_chunksize=_BATCH_ROWS):
            listed = list(_with_text(batch.to_pylist(), texts))
            writer.write_table(pa.Table.from_pylist(listed, schema=schema))


def _with_text(lines: list[dict[str, Any]], samples: Iterable[Sample]) -> Iterator[dict[str, Any]]:
    """Add prompt and target; both tables are in row order, so that one pass finds all."""
    for line in lines:
        sample = next((sample for sample in samples if sample.row == line["row"]), None)
        if sample is None:
            raise DataError(f"row {line['row']} has flags and no sample; run again")
        line["prompt"], line["target"] = prompt_and_target(sample)
        yield line
