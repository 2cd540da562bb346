"""Rows out of the bytes of one file: what chunks cut apart, and what cannot be read."""

import csv
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gradgate.config import DataConfig
from gradgate.data.rows.row import RawRow
from gradgate.data.sources.source import open_rows
from gradgate.errors import DataError


def read(source: Path) -> list[RawRow]:
    return list(open_rows(DataConfig(source=str(source))))


# JSON arrays in chunks


@pytest.mark.parametrize("size", [1, 7, 64, 65_530, 65_531, 65_535, 65_536, 200_000])
def test_json_array_items_across_chunks(tmp_path: Path, size: int) -> None:
    rows: list[dict[str, object]] = [
        {"x": "é" * size, "n": -1.25e-07, "yes": True, "u": "\U0001f600\\"} for _ in range(4)
    ]
    path = tmp_path / "data.json"
    path.write_text(json.dumps(rows), encoding="ascii")  # \u escapes, also cut by chunks
    assert [row.value for row in read(path)] == rows


@pytest.mark.parametrize("size", range(65_500, 65_540, 3))
def test_json_array_numbers_across_chunks(tmp_path: Path, size: int) -> None:
    path = tmp_path / "data.json"
    path.write_text("[" + " " * size + '{"a": 1}, 123456789.5e+10, null, {"b": NaN}]')
    rows = read(path)
    assert [row.problem for row in rows] == [None, "not a JSON object", "not a JSON object", None]
    assert [row.raw for row in rows] == ['{"a": 1}', "123456789.5e+10", "null", '{"b": NaN}']


# Rows that cannot be read


def test_bad_json_lines_stay_rows(tmp_path: Path) -> None:
    lines = [
        b'{"a": 1}',
        b'{"a": "\xff\xfe"}',
        b'{"a": 1',
        b"[1, 2]",
        b'{"a": NaN, "b": "\\ud800"}',
        b'{"a": ' + b"9" * 5000 + b"}",
        b"[" * 100_000,
        b'{"a": 2}',
    ]
    path = tmp_path / "data.jsonl"
    path.write_bytes(b"\n".join(lines))
    rows = read(path)
    assert [row.problem for row in rows] == [
        None,
        "invalid UTF-8",
        "malformed JSON: Expecting ',' delimiter",
        "not a JSON object",
        None,
        "malformed JSON: number too long",
        "malformed JSON: nested too deeply",
        None,
    ]
    assert rows[1].raw == '{"a": "\\xff\\xfe"}'
    assert [row.raw.encode() for row in rows[2:]] == lines[2:]
    assert rows[4].value is not None
    assert rows[4].value["b"] == "\ud800"
    assert [row.value is None for row in rows] == [
        False,
        True,
        True,
        True,
        False,
        True,
        True,
        False,
    ]


def test_bad_items_of_a_json_array_stay_rows(tmp_path: Path) -> None:
    path = tmp_path / "data.json"
    path.write_bytes(b'[{"a": 1}, {"a": "\xff"}, "text", {"a": "\\ud800"}, {"a": 2}]')
    rows = read(path)
    assert [row.problem for row in rows] == [
        *(None, "invalid UTF-8", "not a JSON object", None, None)
    ]
    assert rows[1].raw == '{"a": "\\xff"}'
    assert rows[3].value == {"a": "\ud800"}


@pytest.mark.parametrize(
    "text", ['[{"a": 1}', '[{"a": 1}, ', '[{"a": 1} {"a": 2}]', '[{"a": 1}] x', "[{'a': 1}]", "["]
)
def test_a_malformed_array_is_an_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "data.json").write_text(text)
    with pytest.raises(DataError, match="is no JSON array"):
        read(tmp_path / "data.json")


def test_bad_csv_rows_stay_rows(tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    path.write_bytes(
        b'a,b\r\n1,2\r\n\r\n1,2,3\r\nonly\r\n"x"y,2\r\n\xff,2\r\n"multi\nline",2\r\n3,4\r\n"open,5\r\n'
    )
    rows = read(path)
    assert [row.problem for row in rows] == [
        None,
        "3 fields instead of 2",
        "1 fields instead of 2",
        "malformed CSV: ',' expected after '\"'",
        "invalid UTF-8",
        None,
        None,
        "malformed CSV: unexpected end of data",
    ]
    assert [row.row for row in rows] == list(range(8))
    assert rows[4].raw == "\\xff,2\r\n"
    assert rows[5].value == {"a": "multi\nline", "b": "2"}
    assert rows[7].raw == '"open,5\r\n'


@pytest.mark.parametrize("header", [b"a,a\n", b"a,\n", b"\xff,b\n", b'"a"b,c\n'])
def test_a_csv_header_must_name_the_columns(tmp_path: Path, header: bytes) -> None:
    (tmp_path / "data.csv").write_bytes(header + b"1,2\n")
    with pytest.raises(DataError, match="the first row"):
        read(tmp_path / "data.csv")


def test_invalid_utf8_in_a_table_stays_a_row(tmp_path: Path) -> None:
    def as_strings(array: pa.Array) -> pa.Array:
        return pa.Array.from_buffers(pa.string(), len(array), array.buffers())

    flat = as_strings(pa.array([b"good", b"b\xffd", b"good"], pa.binary()))
    inner = as_strings(pa.array([b"x", b"y", b"\xfe"], pa.binary()))
    nested = pa.ListArray.from_arrays(
        pa.array([0, 1, 2, 3]), pa.StructArray.from_arrays([inner], ["content"])
    )
    table = pa.table({"text": flat, "messages": nested})
    pq.write_table(table, tmp_path / "data.parquet")
    rows = read(tmp_path / "data.parquet")
    assert [row.problem for row in rows] == [None, "invalid UTF-8", "invalid UTF-8"]
    assert json.loads(rows[1].content()) == {"text": "b\\xffd", "messages": [{"content": "y"}]}
    assert json.loads(rows[2].content()) == {"text": "good", "messages": [{"content": "\\xfe"}]}


def test_a_cell_of_a_megabyte(tmp_path: Path) -> None:
    big: list[dict[str, object]] = [{"a": "x,\n" * 350_000}, {"a": "small"}]
    (tmp_path / "data.jsonl").write_text("\n".join(map(json.dumps, big)))
    (tmp_path / "data.json").write_text(json.dumps(big))
    with (tmp_path / "data.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["a"], *([row["a"]] for row in big)])
    for name in ("data.jsonl", "data.json", "data.csv"):
        assert [row.value for row in read(tmp_path / name)] == big


def test_content_is_text_that_utf8_can_encode() -> None:
    content = RawRow(0, {"a": "\ud800", "b": b"\xff"}, "").content()
    assert content == r'{"a": "\ud800", "b": "\\xff"}'
    assert RawRow(0, None, "as \udcff it is", "problem").content() == r"as \udcff it is"
