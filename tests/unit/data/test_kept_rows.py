"""Rows that are kept as they were, of text and of tables."""

import datetime
import json
from collections.abc import Iterable
from itertools import count
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from gradgate.data.kept_rows import (
    LINES,
    OWN_COLUMN,
    RowKeeper,
    kept_batches,
    kept_schemas,
)
from gradgate.data.rows.row import RawRow
from gradgate.data.rows.table_rows import read_table
from gradgate.errors import DataError


def keep(folder: Path, rows: Iterable[RawRow]) -> list[RawRow]:
    keeper = RowKeeper(folder)
    passed = list(keeper.through(rows))
    keeper.close()
    return passed


def lines(folder: Path) -> list[tuple[str, bool]]:
    assert all(schema.equals(LINES) for schema in kept_schemas(folder))
    found = [line for batch in kept_batches(folder) for line in batch.to_pylist()]
    return [(line["line"], line["is_json"]) for line in found]


def test_what_was_read_is_what_is_kept(tmp_path: Path) -> None:
    """A second value under the same name, which nobody judged, is not kept."""
    raw = '{"text": "not judged", "text": "judged", "n": 1.50, "s": "\\ud800"}'
    rows = [
        RawRow(0, json.loads(raw), raw),
        RawRow(1, None, '{"text": ', "malformed JSON"),
        RawRow(2, {"b": b"\xff", "n": np.int64(7), "a": np.array([1.5, 2.0])}, ""),
    ]
    assert keep(tmp_path / "kept", rows) == rows
    found = lines(tmp_path / "kept")
    assert [is_json for _, is_json in found] == [True, False, True]
    assert json.loads(found[0][0]) == {"text": "judged", "n": 1.5, "s": "\ud800"}
    assert found[1][0] == '{"text": '
    assert json.loads(found[2][0]) == {"b": "\\xff", "n": 7, "a": [1.5, 2.0]}


def test_a_row_that_cannot_be_written_is_unreadable(tmp_path: Path) -> None:
    circle: dict[str, object] = {"text": "a"}
    circle["self"] = circle
    given = [
        RawRow(0, {OWN_COLUMN: {"row": 7}, "text": "a"}, ""),
        RawRow(1, {"text": "a", "more": {(1, 2): 3}}, ""),
        RawRow(2, circle, ""),
        RawRow(3, {"text": "a"}, ""),
    ]
    passed = keep(tmp_path / "kept", given)
    assert [row.value for row in passed] == [None, None, None, {"text": "a"}]
    assert "the gate's own" in str(passed[0].problem)
    assert {row.problem for row in passed[1:3]} == {"the row cannot be written as JSON"}
    assert [is_json for _, is_json in lines(tmp_path / "kept")] == [False, False, False, True]


def test_tables_keep_their_types_and_unreadable_cells(tmp_path: Path) -> None:
    starts = pa.py_buffer(np.array([0, 2, 4], np.int32).tobytes())
    broken = pa.StringArray.from_buffers(2, starts, pa.py_buffer(b"ok\xff\xfe"))
    first = pa.table({"text": broken, "n": pa.array([1, None], pa.int8())})
    second = pa.table(
        {"text": ["c"] * 100, "when": [datetime.date(2026, 1, 1)] * 100, "blob": [b"\x00"] * 100}
    )
    numbers = count()
    rows = [row for table in (first, second) for row in read_table(table, numbers)]
    passed = keep(tmp_path / "kept", rows)
    assert passed[1].problem == "invalid UTF-8"
    assert kept_schemas(tmp_path / "kept") == [first.schema, second.schema]
    batches = list(kept_batches(tmp_path / "kept"))
    assert sum(batch.num_rows for batch in batches) == 102
    assert pa.Table.from_batches(batches[1:]).equals(second)
    assert batches[0]["n"].to_pylist() == [1, None]
    assert batches[0]["text"].cast(pa.binary()).to_pylist() == [b"ok", b"\xff\xfe"]


def test_tables_and_lines_take_turns(tmp_path: Path) -> None:
    table = pa.table({"text": ["a", "b"]})
    first, second = read_table(table, count())
    rows = [first, RawRow(1, {"text": "x"}, ""), RawRow(2, *_rest(second))]
    keep(tmp_path / "kept", rows)
    schemas = kept_schemas(tmp_path / "kept")
    assert [schema.names for schema in schemas] == [["text"], LINES.names, ["text"]]


def _rest(row: RawRow) -> tuple[dict[str, object] | None, str, None, pa.Table, int]:
    return row.value, row.raw, None, row.table, row.at


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([RawRow(1, {"a": 1}, "")], "row 1 of the source comes where 0 is due"),
        ([RawRow(0, {"a": 1}, ""), RawRow(0, {"a": 1}, "")], "row 0 of the source"),
        (list(read_table(pa.table({OWN_COLUMN: [1]}), count())), "the gate's own"),
    ],
)
def test_rows_that_cannot_be_accounted_for_are_an_error(
    tmp_path: Path, rows: list[RawRow], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        keep(tmp_path / "kept", rows)


def test_two_columns_of_one_name_are_an_error(tmp_path: Path) -> None:
    """Whoever trains may read the other one."""
    table = pa.Table.from_arrays([pa.array(["a"]), pa.array(["b"])], names=["text", "text"])
    row = RawRow(0, {"text": "b"}, "", None, table, 0)
    with pytest.raises(DataError, match="several columns of the name 'text'"):
        keep(tmp_path / "kept", [row])
