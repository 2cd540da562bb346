"""Small files that would grow, long rows, and sources without an end."""

import gzip
import os
import tracemalloc
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import gradgate.data.rows.limits
from gradgate.config import DataConfig
from gradgate.data.sources.source import open_rows
from gradgate.errors import DataError

MIB = 1 << 20


def n_rows(source: Path, **limits: int) -> int:
    config = DataConfig.model_validate({"source": str(source), "limits": {"row_mib": 1, **limits}})
    return sum(1 for _ in open_rows(config))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("line.jsonl", b'{"a": "' + b"x" * 2 * MIB + b'"}\n'),
        ("second.jsonl", b'{"a": 1}\n{"a": "' + b"x" * 2 * MIB + b'"}\n'),
        ("item.json", b'[{"a": "' + b"x" * 2 * MIB + b'"}]'),
        ("blank.jsonl", b'{"a": 1}\n' + b"\n" * 2 * MIB),
        ("blank.json", b"[" + b" " * 2 * MIB),
        ("behind.json", b'{"a": 1}' + b" " * 2 * MIB),
        ("cell.csv", b"a,b\n1," + b"x" * 2 * MIB + b"\n"),
        ("lines.csv", b'a,b\n1,"' + b"x\n" * MIB + b'"\n'),
        ("blank.csv", b"a,b\n" + b"\n" * 2 * MIB),
        ("deep.jsonl", b"[" * 2 * MIB),
    ],
)
def test_what_is_larger_than_a_row(tmp_path: Path, name: str, text: bytes) -> None:
    for packed in (False, True):
        path = tmp_path / (f"{name}.gz" if packed else name)
        path.write_bytes(gzip.compress(text) if packed else text)
        with pytest.raises(DataError, match=r"larger than data.limits.row_mib \(1 MiB\)"):
            n_rows(path)


def test_a_file_that_grows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "data.jsonl.gz"
    path.write_bytes(gzip.compress(b'{"prompt": "a"}\n' * 400_000))
    assert n_rows(path) == 400_000  # little enough whatever the size of the file
    monkeypatch.setattr(gradgate.data.rows.limits, "FREE_EXPANSION", MIB)
    with pytest.raises(DataError, match=r"more than data.limits.expansion \(200\) times"):
        n_rows(path)
    assert n_rows(path, expansion=1000) == 400_000


def stored_once(n_values: int, text: str) -> pa.Array:
    indices = pa.array([0] * n_values, pa.int32())
    return pa.DictionaryArray.from_arrays(indices, pa.array([text]))


def test_dictionaries_that_grow(tmp_path: Path) -> None:
    """Files of some KB that hold 400 GB of text, over many rows and within one."""
    many = pa.table({"text": stored_once(400_000, "x" * MIB)})
    pq.write_table(many, tmp_path / "many.parquet", compression="zstd", store_schema=False)
    turns = pa.StructArray.from_arrays([stored_once(400_000, "x" * MIB)], ["content"])
    one = pa.table(
        {"messages": pa.ListArray.from_arrays(pa.array([0, 400_000], pa.int32()), turns)}
    )
    pq.write_table(one, tmp_path / "one.parquet", compression="zstd", store_schema=False)
    with pa.ipc.new_file(tmp_path / "many.arrow", many.schema) as writer:
        writer.write_table(many)
    tracemalloc.start()
    before = pa.total_allocated_bytes()
    for name in ("many.parquet", "one.parquet", "many.arrow"):
        with pytest.raises(DataError, match=r"data.limits"):
            n_rows(tmp_path / name)
    assert tracemalloc.get_traced_memory()[1] < 400 * MIB
    assert pa.total_allocated_bytes() - before < 400 * MIB
    tracemalloc.stop()


def test_a_dictionary_of_honest_texts_is_read(tmp_path: Path) -> None:
    texts = [f"system prompt {i % 7} " + "x" * 3000 for i in range(5000)]
    pq.write_table(pa.table({"text": texts}), tmp_path / "data.parquet", row_group_size=1500)
    config = DataConfig(source=str(tmp_path / "data.parquet"))
    assert [(row.value or {})["text"] for row in open_rows(config)] == texts


def test_nulls_that_grow(tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": pa.nulls(100_000_000, pa.int32())}), tmp_path / "a.parquet")
    with pytest.raises(DataError, match=r"data.limits.expansion"):
        n_rows(tmp_path / "a.parquet")


def test_too_many_columns(tmp_path: Path) -> None:
    names = [f"c{i}" for i in range(30)]
    pq.write_table(pa.table({name: ["x"] for name in names}), tmp_path / "a.parquet")
    (tmp_path / "a.csv").write_text(",".join(names) + "\n" + ",".join(names) + "\n")
    for name in ("a.parquet", "a.csv"):
        assert n_rows(tmp_path / name, columns=30) == 1
        with pytest.raises(DataError, match=r"30 columns, more than data.limits.columns \(29\)"):
            n_rows(tmp_path / name, columns=29)


def test_too_many_keys_are_a_matter_of_the_row(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"a": 1, "b": 2}\n{"a": 1}\n')
    config = DataConfig.model_validate(
        {"source": str(tmp_path / "a.jsonl"), "limits": {"columns": 1}}
    )
    assert [row.problem for row in open_rows(config)] == ["more than 1 keys", None]


def test_pipes_and_devices_are_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jsonl")
    (tmp_path / "zero.jsonl").symlink_to("/dev/zero")
    for source in (tmp_path / "pipe.jsonl", tmp_path / "zero.jsonl", tmp_path):
        with pytest.raises(DataError, match="is a pipe or a device"):
            n_rows(source)
