"""Tables of single rows with their texts, for people."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from gradgate.common.files import written_whole
from gradgate.common.run_folder import flag_column
from gradgate.data.prepare import SampleFile
from gradgate.data.sample import Sample, prompt_and_target
from gradgate.errors import DataError

_BATCH_ROWS = 256
_OF_QUESTION = ("suspicion", "p_value", "group")


def lines_of(flags: pa.Table, questions: Sequence[str], mark: str) -> pa.Table:
    """Lines for a listing, with the questions by which each is marked.

    Suspicion, p value and group of a row are those of the first of these questions.

    Args:
        flags: The rows, with all columns that flags.parquet has for the questions.
        questions: That were asked, in their order.
        mark: `flagged` or `in_doubt`.
    """
    by = [
        [question for question, is_marked in zip(questions, line, strict=True) if is_marked]
        for line in zip(
            *(flags[flag_column(mark, q, questions)].to_pylist() for q in questions), strict=True
        )
    ]
    for name in _OF_QUESTION:
        found = {q: flags[flag_column(name, q, questions)].to_pylist() for q in questions}
        values = [found[one[0] if one else questions[0]][i] for i, one in enumerate(by)]
        field = flags.schema.field(name)
        column = flags.schema.get_field_index(name)
        flags = flags.set_column(column, field, pa.array(values, field.type))
    return flags.append_column("questions", pa.array(by, pa.list_(pa.string())))


def columns_of(schema: pa.Schema, questions: Sequence[str]) -> list[str]:
    """What `lines_of` and a listing of a schema need of flags.parquet."""
    wanted = [name for name in schema.names if name not in ("questions", "prompt", "target", "why")]
    needed = [
        flag_column(name, question, questions)
        for question in questions
        for name in ("flagged", "in_doubt", *_OF_QUESTION)
    ]
    return list(dict.fromkeys([*wanted, *needed]))


def write_listing(path: Path, tables: Iterable[pa.Table], samples: Path, schema: pa.Schema) -> None:
    """Write lines of a table of flags with the prompts and targets of their rows.

    Args:
        path: The file to write.
        tables: Some lines each, all in row order.
        samples: A samples.parquet with the same rows, and more.
        schema: Of the file: the columns of the lines, `prompt` and `target`.

    Raises:
        DataError: A row has no sample.
    """
    with written_whole(path) as part, pq.ParquetWriter(part, schema) as writer:
        texts = iter(SampleFile(samples))
        for batch in (b for t in tables for b in t.to_batches(max_chunksize=_BATCH_ROWS)):
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
