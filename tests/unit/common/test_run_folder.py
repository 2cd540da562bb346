"""The folder of a run: its names, its schemas, and which rows have a score."""

from pathlib import Path

import pyarrow as pa
import pytest

from gradgate.common.run_folder import (
    FAILED,
    FLAG_FIELDS,
    FLAGGED_SCHEMA,
    SCORE_SCHEMA,
    SCORED,
    RunFolder,
    is_scored,
)


@pytest.mark.parametrize("chunks", [1, 2])
def test_a_row_has_a_score_when_its_status_says_so(chunks: int) -> None:
    statuses = [SCORED, FAILED, SCORED, "", "Scored", None]
    table = pa.table({"status": pa.array(statuses, pa.string())})
    table = pa.concat_tables([table.slice(0, 3), table.slice(3)]) if chunks == 2 else table
    expected = [True, False, True, False, False, False]
    assert is_scored(table).tolist() == expected
    assert is_scored(table).dtype == bool
    found = [mark for batch in table.to_batches() for mark in is_scored(batch).tolist()]
    assert found == expected


def test_no_rows_have_no_scores() -> None:
    marks = is_scored(SCORE_SCHEMA.empty_table())
    assert marks.shape == (0,)
    assert marks.dtype == bool


def test_a_table_without_a_status_has_no_answer() -> None:
    with pytest.raises(KeyError):
        is_scored(pa.table({"row": [1]}))


def test_every_file_of_a_run_has_a_name_of_its_own() -> None:
    run = RunFolder(Path("runs") / "one")
    names = [
        getattr(run, name)
        for name, member in vars(RunFolder).items()
        if isinstance(member, property) and name != "part"
    ]
    assert all(path.parent == run.path for path in names)
    assert len(set(names)) == len(names)
    assert run.part.path == Path("runs") / "one.part"
    assert run.part.flags.name == run.flags.name
    assert run.validation("flags") == run.path / "validation_flags.json"


def test_no_column_stands_twice() -> None:
    names = [*SCORE_SCHEMA.names, *(field.name for field in FLAG_FIELDS)]
    assert len(names) == len(set(names))
    assert set(FLAGGED_SCHEMA.names) - {"questions", "prompt", "target"} <= set(names)
