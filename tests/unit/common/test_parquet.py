"""Tables in batches: what is read, and what is no table."""

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from gradgate.common.parquet import batches
from gradgate.common.parquet import table as whole_table
from gradgate.errors import DataError

SCHEMA = pa.schema([pa.field("row", pa.int64(), nullable=False), pa.field("text", pa.string())])


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "table.parquet"
    columns = {"text": ["a", None, "c", "d", "e"], "row": [0, 1, 2, 3, 4], "more": [0.5] * 5}
    pq.write_table(pa.table(columns), path, row_group_size=3)
    return path


def test_the_columns_that_are_asked_for_come_in_batches(table: Path) -> None:
    found = list(batches(table, ["row", "text"], 2))
    assert max(batch.num_rows for batch in found) <= 2
    assert {tuple(batch.schema.names) for batch in found} == {("row", "text")}
    lines = [line for batch in found for line in batch.to_pylist()]
    assert lines == [{"row": i, "text": text} for i, text in enumerate(["a", None, "c", "d", "e"])]


def test_a_schema_says_what_the_columns_are(table: Path) -> None:
    found = list(batches(table, SCHEMA))
    assert all(batch.schema.equals(SCHEMA) for batch in found)
    assert sum(batch.num_rows for batch in found) == 5


def test_a_table_without_rows_has_no_batch_that_has_some(tmp_path: Path) -> None:
    pq.write_table(SCHEMA.empty_table(), tmp_path / "empty.parquet")
    assert sum(batch.num_rows for batch in batches(tmp_path / "empty.parquet", SCHEMA)) == 0


def read(path: Path, columns: pa.Schema | list[str]) -> None:
    with pytest.raises(DataError, match=f"{path.name} cannot be read"):
        list(batches(path, columns))


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    read(tmp_path / "none.parquet", ["row"])
    read(tmp_path, ["row"])


def test_a_missing_column_is_an_error(table: Path) -> None:
    read(table, ["row", "nothing"])
    read(table, pa.schema([pa.field("nothing", pa.int64())]))


def test_a_missing_column_of_a_table_without_rows_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "empty.parquet"
    pq.write_table(SCHEMA.empty_table(), path)
    read(path, ["row", "nothing"])
    read(path, pa.schema([pa.field("nothing", pa.int64())]))


def test_a_column_of_another_type_is_an_error(table: Path) -> None:
    read(table, pa.schema([pa.field("text", pa.int64())]))


def test_a_null_where_there_must_be_none_is_an_error(table: Path) -> None:
    read(table, pa.schema([pa.field("text", pa.string(), nullable=False)]))


@pytest.mark.parametrize("kept", [0, 3, 100, -9])
def test_a_damaged_file_is_an_error(table: Path, kept: int) -> None:
    table.write_bytes(table.read_bytes()[:kept])
    read(table, ["row"])


def test_a_damaged_page_is_an_error(table: Path) -> None:
    page = pq.read_metadata(table).row_group(0).column(1).dictionary_page_offset
    whole = table.read_bytes()
    table.write_bytes(whole[:page] + bytes(20) + whole[page + 20 :])
    read(table, ["row"])


def test_a_whole_table_has_the_columns_and_rows_that_are_asked_for(table: Path) -> None:
    assert whole_table(table).equals(pq.read_table(table))
    assert whole_table(table, ["row"]).to_pydict() == {"row": [0, 1, 2, 3, 4]}
    late = whole_table(table, ["row", "text"], pc.field("row") > 2)
    assert late.to_pydict() == {"row": [3, 4], "text": ["d", "e"]}


@pytest.mark.parametrize("kept", [None, 0, 3, 100, -9])
def test_a_whole_table_that_is_missing_or_damaged_is_an_error(
    table: Path, kept: int | None
) -> None:
    whole = table.read_bytes()
    table.unlink()
    if kept is not None:
        table.write_bytes(whole[:kept])
    for columns in (None, ["row"]):
        with pytest.raises(DataError, match=r"table\.parquet cannot be read"):
            whole_table(table, columns)


def test_a_whole_table_that_lacks_a_column_is_an_error(table: Path) -> None:
    with pytest.raises(DataError, match=r"table\.parquet cannot be read.*nothing"):
        whole_table(table, ["row", "nothing"])
