"""The shapes that people's files have: the same rows out of all of them, or a cure."""

import gzip
import json
import lzma
from collections.abc import Callable
from pathlib import Path

import datasets
import pandas as pd
import pyarrow as pa
import pytest
from row_helpers import read, values, zstd

from gradgate.config import DataConfig
from gradgate.errors import DataError

ROWS = [
    {"prompt": f"question; {i}, naïve 日本?\n|", "completion": f'answer\t"{i}"'} for i in range(30)
]
FRAME = pd.DataFrame(ROWS)
LINES = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS)
SHAPES: dict[str, Callable[[], bytes]] = {
    "semicolon.csv": lambda: FRAME.to_csv(sep=";", index=False).encode(),
    "bar.csv": lambda: FRAME.to_csv(sep="|", index=False).encode(),
    "tab.csv": lambda: FRAME.to_csv(sep="\t", index=False).encode(),
    "tab.tsv": lambda: FRAME.to_csv(sep="\t", index=False).encode(),
    "utf16.csv": lambda: FRAME.to_csv(sep="\t", index=False).encode("utf-16"),
    "data.tsv.zst": lambda: zstd(FRAME.to_csv(sep="\t", index=False).encode()),
    "data.jsonl.zst": lambda: zstd(LINES.encode()),
    "two-frames.jsonl.zst": lambda: zstd(LINES[:500].encode()) + zstd(LINES[500:].encode()),
    "two-streams.jsonl.xz": lambda: (
        lzma.compress(LINES.encode()[:500]) + bytes(4) + lzma.compress(LINES.encode()[500:])
    ),
    "utf16.jsonl": lambda: LINES.replace("\n", "\r\n").encode("utf-16"),
    "utf16-no-mark.jsonl": lambda: LINES.encode("utf-16-be"),
    "utf16.json.gz": lambda: gzip.compress(json.dumps(ROWS).encode("utf-16")),
    "utf32.jsonl": lambda: LINES.encode("utf-32"),
    "mark.jsonl": lambda: LINES.encode("utf-8-sig"),
    "indented.jsonl": lambda: "\n".join(json.dumps(row, indent=2) for row in ROWS).encode(),
    "indented.json": lambda: "".join(json.dumps(row, indent="\t") for row in ROWS).encode(),
    "array.jsonl": lambda: json.dumps(ROWS).encode(),
    "indented-array.jsonl": lambda: json.dumps(ROWS, indent=1).encode(),
    "glued.jsonl": lambda: "".join(json.dumps(row) for row in ROWS).encode(),
    "some-glued.jsonl": lambda: (LINES[:-1] + " " + LINES).encode()[: len(LINES.encode())],
    "wrapped.json": lambda: json.dumps({"version": "1", "data": ROWS, "n": [1, 2]}).encode(),
    "wrapped-indented.jsonl": lambda: json.dumps({"rows": ROWS}, indent=2).encode(),
    "table.json": lambda: (FRAME.to_json(orient="table", index=False) or "").encode(),
}


@pytest.mark.parametrize("name", SHAPES)
def test_the_rows_of_a_shape(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(SHAPES[name]())
    assert values(tmp_path / name) == ROWS


def test_the_index_of_pandas(tmp_path: Path) -> None:
    FRAME.to_csv(tmp_path / "data.csv")
    assert values(tmp_path / "data.csv") == [
        {"Unnamed: 0": str(i), **row} for i, row in enumerate(ROWS)
    ]


def test_nan_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "data.jsonl").write_text('{"a": NaN, "b": -Infinity}\n{"a": 1}\n')
    first, second = read(tmp_path / "data.jsonl")
    assert first.value is not None
    assert first.content() == '{"a": NaN, "b": -Infinity}'
    assert second.value == {"a": 1}


def test_glued_rows_beside_a_malformed_one(tmp_path: Path) -> None:
    (tmp_path / "data.jsonl").write_text(
        '{"a": 1}{"a": 2} {"a": 3}\n{"a": 4} more\n{"a": 5}[6]\n{}\n'
    )
    rows = read(tmp_path / "data.jsonl")
    assert [row.value for row in rows] == [{"a": 1}, {"a": 2}, {"a": 3}, None, None, {}]
    assert [row.raw for row in rows[:3]] == ['{"a": 1}', '{"a": 2}', '{"a": 3}']
    assert {row.problem for row in rows[3:5]} == {"malformed JSON: Extra data"}


@pytest.mark.parametrize("text", ['{"a": "b", "a": "c"}', '{"m": [{"a": "b", "a": "c"}]}'])
@pytest.mark.parametrize("name", ["data.jsonl", "data.json", "array.json"])
def test_a_key_that_stands_twice_is_no_row(tmp_path: Path, text: str, name: str) -> None:
    """One parser takes the first, another the last: one is judged, the other trained on."""
    lines = f'{text}\n{{"a": "next"}}\n'
    array = f'[{text}, {{"a": "next"}}]'
    (tmp_path / name).write_text(array if name == "array.json" else lines)
    rows = read(tmp_path / name)
    assert rows[0].problem == "malformed JSON: an object has the same key twice"
    assert rows[1].value == {"a": "next"}


def test_a_single_conversation_is_a_row_and_no_list_of_rows(tmp_path: Path) -> None:
    for i, row in enumerate(
        [
            {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]},
            {"dialog": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]},
            {"prompt": "a", "completion": "b", "sources": [{"url": "c"}]},
        ]
    ):
        (tmp_path / f"{i}.json").write_text(json.dumps(row, indent=2))
        assert values(tmp_path / f"{i}.json") == [row]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"train": [{"a": 1}], "test": [{"a": 2}]}, "several lists of rows, 'train', 'test'"),
        ({"a": {"0": "x"}, "b": {"0": "y"}}, "a value for each column"),
        ({"a": ["x"], "b": ["y"]}, "a value for each column"),
    ],
)
def test_objects_that_are_refused_with_a_cure(
    tmp_path: Path, content: dict[str, object], words: str
) -> None:
    (tmp_path / "data.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match=words):
        read(tmp_path / "data.json")


def test_a_wrapper_larger_than_a_row_is_read_in_pieces(tmp_path: Path) -> None:
    rows = [{"text": "x" * 9_000} for _ in range(300)]
    for name in ("data.json", "data.jsonl"):
        (tmp_path / name).write_text(json.dumps({"version": "1", "data": rows, "more": "y"}))
        assert values(tmp_path / name, limits={"row_mib": 1}) == rows
        (tmp_path / name).write_text(json.dumps({"data": rows, "more": rows[:1]}))
        with pytest.raises(DataError, match="several lists of rows"):
            read(tmp_path / name, limits={"row_mib": 1})


def test_a_delimiter_that_is_set(tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    path.write_text("a;b,c;d\n1;2,3;4\n")
    with pytest.raises(DataError, match=r"\(,, ;\); name the right one in data.delimiter"):
        read(path)
    assert values(path, delimiter=";") == [{"a": "1", "b,c": "2,3", "d": "4"}]
    assert values(path, delimiter=",") == [{"a;b": "1;2", "c;d": "3;4"}]
    path.write_text("a^b\n1^2\n")
    assert values(path, delimiter="^") == [{"a": "1", "b": "2"}]
    (tmp_path / "data.jsonl").write_text(LINES)
    with pytest.raises(DataError, match=r"no CSV and cannot obey data.delimiter"):
        read(tmp_path / "data.jsonl", delimiter=";")


@pytest.mark.parametrize("first", ["sep=;\n", '"sep=;"\r\n', "sep=^\n"])
def test_the_line_that_tells_excel_the_delimiter(tmp_path: Path, first: str) -> None:
    mark = first.strip('"\r\n')[-1]
    (tmp_path / "data.csv").write_text(f"{first}a{mark}b,c\n1{mark}2,3\n")
    assert values(tmp_path / "data.csv") == [{"a": "1", "b,c": "2,3"}]


def test_a_column_that_is_called_sep(tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_text("sep=x,b\n1,2\n")
    assert values(tmp_path / "data.csv") == [{"sep=x": "1", "b": "2"}]


def test_the_name_of_a_delimiter() -> None:
    assert DataConfig(source="x", delimiter="tab").delimiter == "\t"
    for wrong in ("", '"', "ab", "\n"):
        with pytest.raises(ValueError, match="one character"):
            DataConfig(source="x", delimiter=wrong)


# Rows that a source loses


@pytest.mark.parametrize(
    "text",
    [
        'a,b\n1,2\n"3,4\n5,6\n7,8\n',  # to the end of the file
        'a,b\n1,2\n"3,4\n5,6\n7,8\n"x"y,9\n10,11\n',  # to the next quote, which ends no cell
        'a\n1\n"2\n3\n4\n',
    ],
)
def test_an_open_quote_that_swallows_rows(tmp_path: Path, text: str) -> None:
    (tmp_path / "data.csv").write_text(text)
    with pytest.raises(DataError, match=r"row 1: an open quote takes \d lines for one row"):
        read(tmp_path / "data.csv")


@pytest.mark.parametrize("name", ["data.jsonl", "data.csv"])
def test_a_text_that_ends_within_a_row(tmp_path: Path, name: str) -> None:
    text = LINES if name == "data.jsonl" else FRAME.to_csv(index=False)
    data = text.strip().encode()
    (tmp_path / name).write_bytes(data[:-8])
    with pytest.raises(DataError, match=r"ends within .*it is cut"):
        read(tmp_path / name)
    (tmp_path / name).write_bytes(data)
    assert values(tmp_path / name) == ROWS


def test_a_tail_of_zeros(tmp_path: Path) -> None:
    (tmp_path / "data.jsonl").write_bytes(LINES.encode() + bytes(5000))
    with pytest.raises(DataError, match="zeros behind row 29: a download that did not end"):
        read(tmp_path / "data.jsonl")


@pytest.mark.parametrize("name", ["data.jsonl.gz", "data.jsonl.zst", "data.jsonl.xz"])
def test_a_compressed_file_that_is_cut(tmp_path: Path, name: str) -> None:
    pack = {"gz": gzip.compress, "zst": zstd, "xz": lzma.compress}[name.rpartition(".")[2]]
    for cut in (1, 5, 100):
        (tmp_path / name).write_bytes(pack(LINES.encode())[:-cut])
        with pytest.raises(DataError, match=r"cannot be read: .*([Tt]runcated|is cut)"):
            read(tmp_path / name)


def test_garbage_between_two_streams_of_xz(tmp_path: Path) -> None:
    half = lzma.compress(LINES[:500].encode())
    (tmp_path / "data.jsonl.xz").write_bytes(half + b"x" + half[1:])
    with pytest.raises(DataError, match="cannot be read"):
        read(tmp_path / "data.jsonl.xz")


def arrow_stream(path: Path) -> list[int]:
    """Write a stream; where its messages end: the schema, three batches."""
    table = pa.Table.from_pylist(ROWS)
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, table.schema) as writer:
        writer.write_table(table, max_chunksize=10)
    buffer = pa.BufferReader(path.read_bytes())
    reader, ends = pa.ipc.MessageReader.open_stream(buffer), []
    for _ in range(4):
        reader.read_next_message()
        ends.append(buffer.tell())
    return ends


def test_an_arrow_stream_that_is_cut_between_two_batches(tmp_path: Path) -> None:
    path = tmp_path / "data.arrow"
    ends = arrow_stream(path)
    whole = path.read_bytes()
    for end in ends:
        path.write_bytes(whole[:end])
        with pytest.raises(DataError, match="the Arrow stream has no end mark"):
            read(path)
    path.write_bytes(whole + whole)
    with pytest.raises(DataError, match="something follows the end"):
        read(path)


def test_a_save_to_disk_folder_that_is_cut_or_has_fewer_rows(tmp_path: Path) -> None:
    FRAME.to_json(tmp_path / "rows.jsonl", orient="records", lines=True)
    cache = str(tmp_path / "cache")
    loaded = datasets.load_dataset(
        "json", data_files=str(tmp_path / "rows.jsonl"), split="train", cache_dir=cache
    )
    loaded.save_to_disk(tmp_path / "saved")
    assert values(tmp_path / "saved") == ROWS
    loaded.select(range(10)).save_to_disk(tmp_path / "part")  # whose metadata still says 30
    with pytest.raises(DataError, match=r"10 rows, .*info.json says 30.*expected_rows to 10"):
        read(tmp_path / "part")
    assert values(tmp_path / "part", expected_rows=10) == ROWS[:10]
    arrow_stream(tmp_path / "other.arrow")
    (file,) = (tmp_path / "saved").glob("*.arrow")
    file.write_bytes((tmp_path / "other.arrow").read_bytes()[:-8])
    with pytest.raises(DataError, match="no end mark"):
        read(tmp_path / "saved")


def test_expected_rows(tmp_path: Path) -> None:
    (tmp_path / "data.jsonl").write_text(LINES)
    assert values(tmp_path / "data.jsonl", expected_rows=30) == ROWS
    for number in (29, 31):
        with pytest.raises(DataError, match=rf"30 rows, and not data.expected_rows \({number}\)"):
            read(tmp_path / "data.jsonl", expected_rows=number)
