"""Rows as bytes of files, and read from files."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa

from gradgate.config import DataConfig
from gradgate.data.rows.row import RawRow
from gradgate.data.sources.source import open_rows


def read(source: Path | str, **settings: object) -> list[RawRow]:
    return list(open_rows(DataConfig.model_validate({"source": str(source), **settings})))


def values(source: Path | str, **settings: object) -> list[dict[str, object] | None]:
    rows = read(source, **settings)
    assert [row.row for row in rows] == list(range(len(rows)))
    return [row.value for row in rows]


def json_lines(rows: Sequence[Mapping[str, object]]) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def zstd(data: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as file:
        file.write(data)
    return bytes(sink.getvalue())
