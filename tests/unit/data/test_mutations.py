"""Damaged files of every format: rows or one clear line, and never another exception."""

import bz2
import gzip
import json
import lzma
import random
from collections.abc import Callable
from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from row_helpers import zstd

from gradgate.config import DataConfig
from gradgate.data.rows.parquet_footer import read_chunks
from gradgate.data.rows.row import RawRow
from gradgate.data.sources.source import open_rows
from gradgate.errors import DataError

ROWS = [
    {
        "prompt": f"question {i}, naïve — 日本?\n",
        "messages": [{"role": "user", "content": "x" * i}, {"role": "assistant", "content": None}],
        "number": i / 7,
    }
    for i in range(40)
]
LINES = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS)
TABLE = pa.Table.from_pylist(ROWS)
N_MUTATIONS = 12  # of each file


def csv_text(delimiter: str) -> str:
    lines = [f'{i}{delimiter}"question ""{i}"",\n2"{delimiter}answer {i}\r\n' for i in range(40)]
    return delimiter.join(["id", "prompt", "completion"]) + "\n" + "".join(lines)


def parquet(compression: str) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(TABLE, sink, row_group_size=15, compression=compression)
    return sink.getvalue().to_pybytes()


def arrow(is_stream: bool, compression: str | None = None) -> bytes:
    sink = pa.BufferOutputStream()
    views = TABLE["prompt"].cast(pa.string_view()).combine_chunks()
    table = TABLE.append_column("view", views).append_column(
        "kind", TABLE["prompt"].dictionary_encode()
    )
    options = pa.ipc.IpcWriteOptions(compression=compression)
    new = pa.ipc.new_stream if is_stream else pa.ipc.new_file
    with new(sink, table.schema, options=options) as writer:
        writer.write_table(table, max_chunksize=15)
    return sink.getvalue().to_pybytes()


FILES: dict[str, Callable[[], bytes]] = {
    "lines.jsonl": LINES.encode,
    "array.json": lambda: json.dumps(ROWS).encode(),
    "wrapper.json": lambda: json.dumps({"version": "1", "data": ROWS}).encode(),
    "indented.jsonl": lambda: "\n".join(json.dumps(row, indent=2) for row in ROWS).encode(),
    "glued.jsonl": lambda: "".join(map(json.dumps, ROWS)).encode(),
    "utf16.jsonl": lambda: LINES.encode("utf-16"),
    "comma.csv": lambda: csv_text(",").encode(),
    "semicolon.csv": lambda: csv_text(";").encode(),
    "tab.tsv": lambda: csv_text("\t").encode(),
    "lines.jsonl.gz": lambda: gzip.compress(LINES.encode(), mtime=0),
    "lines.jsonl.bz2": lambda: bz2.compress(LINES.encode()),
    "lines.jsonl.xz": lambda: lzma.compress(LINES.encode()),
    "lines.jsonl.zst": lambda: zstd(LINES.encode()),
    "zstd.parquet": lambda: parquet("zstd"),
    "plain.parquet": lambda: parquet("none"),
    "file.arrow": lambda: arrow(is_stream=False),
    "stream.arrow": lambda: arrow(is_stream=True),
    "packed.arrow": lambda: arrow(is_stream=True, compression="zstd"),
}


def cut(data: bytes, chance: random.Random) -> bytes:
    return data[: chance.randrange(len(data))]


def bits_flipped(data: bytes, chance: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(chance.choice([1, 1, 4, 40])):
        changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
    return bytes(changed)


def piece_left_out(data: bytes, chance: random.Random) -> bytes:
    start = chance.randrange(len(data))
    return data[:start] + data[start + chance.randrange(1, 200) :]


def piece_twice(data: bytes, chance: random.Random) -> bytes:
    start = chance.randrange(len(data))
    end = start + chance.randrange(1, 2000)
    return data[:end] + data[start:]


def zeros_within(data: bytes, chance: random.Random) -> bytes:
    start = chance.randrange(len(data))
    return data[:start] + bytes(chance.randrange(1, 300)) + data[start + 100 :]


def encoded_anew(data: bytes, chance: random.Random) -> bytes:
    text = data.decode("utf-8", "replace")
    return text.encode(
        chance.choice(["utf-16", "utf-16-be", "utf-32", "cp1252", "utf-7"]), "replace"
    )


def nested_deeply(data: bytes, chance: random.Random) -> bytes:
    deep = chance.choice([b'{"a":', b"[", b'{"data":[']) * chance.choice([500, 20_000])
    start = chance.choice([0, data.find(b"\n") + 1, chance.randrange(len(data))])
    return data[:start] + deep + data[start:]


def oversized(data: bytes, chance: random.Random) -> bytes:
    start = chance.choice([0, data.find(b"\n") + 1, chance.randrange(len(data))])
    return data[:start] + chance.choice([b" ", b"x", b"\n", b'"']) * 1_500_000 + data[start:]


MUTATIONS = [
    *(cut, bits_flipped, bits_flipped, piece_left_out, piece_twice, zeros_within),
    *(encoded_anew, nested_deeply, oversized),
]


@pytest.mark.parametrize("name", FILES)
def test_a_damaged_file_is_rows_or_one_line(tmp_path: Path, name: str) -> None:
    """The seeds are fixed; in all there are more than 200 files."""
    whole = FILES[name]()
    path = tmp_path / name
    assert outcome(path, whole) == 40
    for seed in range(N_MUTATIONS):
        chance = random.Random(f"{name} {seed}")
        outcome(path, chance.choice(MUTATIONS)(whole, chance))


@pytest.mark.parametrize("file", ["state.json", "dataset_info.json", "data-00000-of-00001.arrow"])
def test_a_damaged_save_to_disk_folder(tmp_path: Path, file: str) -> None:
    datasets.Dataset.from_list(ROWS).save_to_disk(tmp_path / "saved")
    path = tmp_path / "saved" / file
    whole = path.read_bytes()
    for seed in range(N_MUTATIONS):
        chance = random.Random(f"{file} {seed}")
        path.write_bytes(chance.choice(MUTATIONS)(whole, chance))
        n_rows(tmp_path / "saved")


@pytest.mark.parametrize("name", ["../private/data.arrow", "/etc/passwd", "a/../../b.arrow", ""])
def test_a_save_to_disk_folder_names_no_file_outside_of_it(tmp_path: Path, name: str) -> None:
    datasets.Dataset.from_list(ROWS).save_to_disk(tmp_path / "private")
    datasets.DatasetDict({"train": datasets.Dataset.from_list(ROWS)}).save_to_disk(tmp_path / "all")
    state = tmp_path / "all" / "train" / "state.json"
    content = json.loads(state.read_text())
    state.write_text(json.dumps({**content, "_data_files": [{"filename": name}]}))
    with pytest.raises(DataError, match=r"state.json .* is missing or damaged"):
        [*open_rows(DataConfig(source=str(tmp_path / "all" / "train")))]
    (tmp_path / "all" / "dataset_dict.json").write_text(json.dumps({"splits": [name]}))
    with pytest.raises(DataError, match=r"dataset_dict.json is damaged"):
        [*open_rows(DataConfig(source=str(tmp_path / "all")))]


def test_a_parquet_footer_with_any_byte_changed(tmp_path: Path) -> None:
    """pyarrow's own access to chunks ends the process for some of them."""
    whole = parquet("zstd")
    footer = len(whole) - 8 - int.from_bytes(whole[-8:-4], "little")
    for at in range(footer, len(whole), 7):
        outcome(tmp_path / "a.parquet", whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])


def test_the_footer_says_what_pyarrow_says(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    path.write_bytes(parquet("zstd"))
    footer = pq.ParquetFile(path).metadata
    with path.open("rb") as file:
        groups = read_chunks(file, "a")
    assert len(groups) == footer.num_row_groups == 3
    for i, group in enumerate(groups):
        for chunk, own in zip(group, map(footer.row_group(i).column, range(4)), strict=True):
            assert chunk.path == own.path_in_schema
            assert (chunk.n_values, chunk.n_bytes) == (own.num_values, own.total_uncompressed_size)
            is_text = own.physical_type == "BYTE_ARRAY"
            assert chunk.has_stored_text == (is_text and own.has_dictionary_page)


def outcome(path: Path, data: bytes) -> int:
    path.write_bytes(data)
    return n_rows(path)


def n_rows(source: Path) -> int:
    """Rows that can be read; -1 where the source is refused."""
    config = DataConfig.model_validate({"source": str(source), "limits": {"row_mib": 1}})
    rows, problem = read(config)
    assert "\n" not in problem
    assert len(problem) < 1000
    assert [row.row for row in rows] == list(range(len(rows)))
    for row in rows:
        row.content().encode()
    return -1 if problem else sum(row.value is not None for row in rows)


def read(config: DataConfig) -> tuple[list[RawRow], str]:
    """The rows up to an error, and the error."""
    rows = []
    try:
        for row in open_rows(config):
            rows.append(row)
    except DataError as error:
        return rows, str(error)
    return rows, ""
