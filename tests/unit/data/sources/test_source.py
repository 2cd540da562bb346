"""Rows out of real files, folders, stores and a small hub on this machine."""

import csv
import gzip
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import datasets
import fsspec
import huggingface_hub
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from row_helpers import json_lines, read, values

from gradgate.errors import DataError, TransientError

ROWS: list[dict[str, object]] = [
    {"prompt": f"question {i}, naïve — 日本?\n", "completion": f'answer "{i}"'} for i in range(29)
]


def write_csv(path: Path, rows: list[dict[str, object]], encoding: str = "utf-8") -> Path:
    with path.open("w", newline="", encoding=encoding) as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def write_arrow(path: Path, rows: list[dict[str, object]], stream: bool) -> Path:
    table = pa.Table.from_pylist(rows)
    new = pa.ipc.new_stream if stream else pa.ipc.new_file
    with pa.OSFile(str(path), "wb") as file, new(file, table.schema) as writer:
        writer.write_table(table, max_chunksize=10)
    return path


# The same rows from everywhere


def test_json_lines(tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    path.write_bytes(json_lines(ROWS))
    assert values(path) == ROWS
    assert json.loads(read(path)[3].raw) == ROWS[3]


@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n\r\n  \n"])
def test_json_lines_with_blank_lines_bom_and_windows_ends(tmp_path: Path, end: bytes) -> None:
    path = tmp_path / "data.ndjson"
    path.write_bytes(b'\xef\xbb\xbf\n{"a": 1}\r\n\n \t\n{"a": 2}' + end)
    assert values(path) == [{"a": 1}, {"a": 2}]


@pytest.mark.parametrize("indent", [None, 2])
def test_json_array(tmp_path: Path, indent: int | None) -> None:
    path = tmp_path / "data.json"
    path.write_bytes(b"\xef\xbb\xbf\n " + json.dumps(ROWS, indent=indent).encode())
    assert values(path) == ROWS


def test_json_lines_under_the_name_json(tmp_path: Path) -> None:
    path = tmp_path / "data.json"
    path.write_bytes(b"\n " + json_lines(ROWS))
    assert values(path) == ROWS


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_csv(tmp_path: Path, encoding: str) -> None:
    assert values(write_csv(tmp_path / "data.csv", ROWS, encoding)) == ROWS


def test_parquet(tmp_path: Path) -> None:
    pq.write_table(pa.Table.from_pylist(ROWS), tmp_path / "data.parquet", row_group_size=7)
    assert values(tmp_path / "data.parquet") == ROWS


@pytest.mark.parametrize("stream", [True, False])
def test_arrow(tmp_path: Path, stream: bool) -> None:
    path = write_arrow(tmp_path / "data.arrow", ROWS, stream)
    assert values(path) == ROWS
    with fsspec.open("memory://bucket/data.arrow", "wb") as file:
        file.write(path.read_bytes())
    assert values("memory://bucket/data.arrow") == ROWS


@pytest.mark.parametrize("name", ["data.jsonl.gz", "data.json.gz"])
def test_compressed(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(gzip.compress(json_lines(ROWS)))
    assert values(tmp_path / name) == ROWS


def test_compressed_csv(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "data.csv", ROWS)
    (tmp_path / "other.csv.gz").write_bytes(gzip.compress(path.read_bytes()))
    assert values(tmp_path / "other.csv.gz") == ROWS


def test_folder_in_sorted_order_without_readme_and_hidden_files(tmp_path: Path) -> None:
    (tmp_path / "b" / ".cache").mkdir(parents=True)
    (tmp_path / "b" / "1.jsonl").write_bytes(json_lines(ROWS[20:]))
    (tmp_path / "a.jsonl").write_bytes(json_lines(ROWS[:20]))
    for name in ("README.md", "LICENSE", "_SUCCESS", ".gitattributes", "b/.cache/x.csv"):
        (tmp_path / name).write_text("not data")
    assert values(tmp_path) == ROWS
    assert values(f"file://{tmp_path}") == ROWS


def test_what_other_readers_take_for_data_is_data(tmp_path: Path) -> None:
    """`datasets` reads a file that begins with one underscore, and so does what trains."""
    (tmp_path / "_sub").mkdir()
    (tmp_path / "a.jsonl").write_bytes(json_lines(ROWS[:20]))
    (tmp_path / "_more.jsonl").write_bytes(json_lines(ROWS[20:22]))
    (tmp_path / "_sub" / "b.jsonl").write_bytes(json_lines(ROWS[22:]))
    assert len(values(tmp_path)) == len(ROWS)
    (tmp_path / "a.jsonl.crc").write_bytes(json_lines(ROWS[:1]))
    with pytest.raises(DataError, match="mixes files of several kinds"):
        values(tmp_path)


def test_a_table_of_parquet_has_a_log_beside_it(tmp_path: Path) -> None:
    pd.DataFrame(ROWS).to_parquet(tmp_path / "part-0.parquet")
    (tmp_path / "_delta_log").mkdir()
    (tmp_path / "_delta_log" / "0.json").write_text("{}")
    assert len(values(tmp_path)) == len(ROWS)


def test_memory_url_file_and_folder() -> None:
    store = fsspec.filesystem("memory")
    store.pipe("/shelf/data-1.jsonl", json_lines(ROWS[:9]))
    store.pipe("/shelf/data-2.jsonl", json_lines(ROWS[9:]))
    assert values("memory://shelf") == ROWS
    assert values("memory://shelf/data-1.jsonl") == ROWS[:9]


def test_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "data.jsonl").write_bytes(json_lines(ROWS))
    monkeypatch.setenv("HOME", str(tmp_path))
    assert values("~/data.jsonl") == ROWS


def test_save_to_disk(tmp_path: Path) -> None:
    datasets.Dataset.from_list(ROWS).select(range(28, -1, -1)).save_to_disk(tmp_path / "saved")
    assert values(tmp_path / "saved") == ROWS[::-1]
    for field in ("name", "split", "revision"):
        with pytest.raises(DataError, match=f"cannot obey data.{field}"):
            read(tmp_path / "saved", **{field: "train"})


def test_save_to_disk_with_splits(tmp_path: Path) -> None:
    parts = {"train": ROWS[:20], "test": ROWS[20:]}
    both = datasets.DatasetDict({k: datasets.Dataset.from_list(v) for k, v in parts.items()})
    both.save_to_disk(tmp_path / "both")
    assert values(tmp_path / "both", split="test") == ROWS[20:]
    with pytest.raises(DataError, match=r"splits train, test; name one in data.split"):
        read(tmp_path / "both")
    with pytest.raises(DataError, match=r"no split 'dev'; data.split is one of train, test"):
        read(tmp_path / "both", split="dev")
    with pytest.raises(DataError, match=r"cannot obey data.revision"):
        read(tmp_path / "both", split="test", revision="main")
    datasets.DatasetDict({"only": both["train"]}).save_to_disk(tmp_path / "one")
    assert values(tmp_path / "one") == ROWS[:20]
    (tmp_path / "one" / "dataset_dict.json").write_text("{")
    with pytest.raises(DataError, match=r"dataset_dict.json is damaged"):
        read(tmp_path / "one")


def test_save_to_disk_in_a_store(tmp_path: Path) -> None:
    datasets.Dataset.from_list(ROWS).save_to_disk("memory://saved")
    assert values("memory://saved") == ROWS


# Sources that cannot be used


@pytest.mark.parametrize(
    "source",
    [
        *("missing.jsonl", "folder/missing.parquet", "data.csv.gz", "./missing", "../missing"),
        *("/nowhere/missing", "~/missing-folder", "memory://nothing/here", "a/b/c", ".hidden"),
    ],
)
def test_a_missing_file_is_never_looked_up_on_the_hub(source: str) -> None:
    with pytest.raises(DataError, match=r"no such file or folder$"):
        read(source)


@pytest.mark.parametrize("name", ["json", "csv", "parquet"])
def test_names_of_readers_do_not_read_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    (tmp_path / f"private.{name}").write_bytes(json_lines(ROWS))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match="no such file or folder"):
        read(name)


@pytest.mark.parametrize("name", ["data.jsonl", "data.json", "data.csv", "x.jsonl.gz"])
@pytest.mark.parametrize("content", [b"", b"\n \n"])
def test_an_empty_file(tmp_path: Path, name: str, content: bytes) -> None:
    gzipped = name.endswith(".gz")
    (tmp_path / name).write_bytes(gzip.compress(content) if gzipped else content)
    with pytest.raises(DataError, match="has no rows"):
        read(tmp_path / name)


def test_other_empty_sources(tmp_path: Path) -> None:
    (tmp_path / "header.csv").write_text("prompt,completion\n")
    (tmp_path / "array.json").write_text(" [ ] ")
    pq.write_table(pa.table({"a": pa.array([], pa.string())}), tmp_path / "none.parquet")
    (tmp_path / "folder").mkdir()
    datasets.Dataset.from_dict({"a": []}).save_to_disk(tmp_path / "saved")
    for name in ("header.csv", "array.json", "none.parquet", "folder", "saved"):
        with pytest.raises(DataError, match="has no rows"):
            read(tmp_path / name)


@pytest.mark.parametrize("name", ["data.parquet", "data.arrow", "data.jsonl.gz"])
@pytest.mark.parametrize("content", [b"", b"this is something else entirely"])
def test_a_damaged_file(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=r"cannot be read|has no rows"):
        read(tmp_path / name)


def test_a_cut_file(tmp_path: Path) -> None:
    whole = gzip.compress(json_lines(ROWS))
    (tmp_path / "data.jsonl.gz").write_bytes(whole[:-20])
    with pytest.raises(DataError, match="cannot be read"):
        read(tmp_path / "data.jsonl.gz")
    path = write_arrow(tmp_path / "data.arrow", ROWS, stream=True)
    path.write_bytes(path.read_bytes()[:-400])
    with pytest.raises(DataError, match="cannot be read"):
        read(path)


def test_a_folder_of_mixed_kinds(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(json_lines(ROWS))
    write_csv(tmp_path / "b.csv", ROWS)
    with pytest.raises(DataError, match=r"several kinds: csv, jsonl"):
        read(tmp_path)


def test_unknown_kinds(tmp_path: Path) -> None:
    (tmp_path / "data.bin").write_text("x")
    with pytest.raises(DataError, match=r"no data file; the known kinds are .arrow"):
        read(tmp_path / "data.bin")
    with pytest.raises(DataError, match="no data file"):
        read(tmp_path)
    (tmp_path / "a.jsonl").write_bytes(json_lines(ROWS))
    with pytest.raises(DataError, match=r"several kinds: jsonl, unknown \(data.bin\)"):
        read(tmp_path)
    with pytest.raises(DataError, match="no-such-protocol"):
        read("no-such-protocol://bucket/data.jsonl")


@pytest.mark.parametrize("field", ["name", "split", "revision"])
def test_hub_settings_for_a_file(tmp_path: Path, field: str) -> None:
    (tmp_path / "data.jsonl").write_bytes(json_lines(ROWS))
    for source in (tmp_path, tmp_path / "data.jsonl"):
        with pytest.raises(DataError, match=f"cannot obey data.{field}; leave it out"):
            read(source, **{field: "train"})


# Servers


class Server(ThreadingHTTPServer):
    """Answers every request for a path with what `answers` has for it, or 404."""

    def __init__(self) -> None:
        self.answers: dict[str, tuple[int, str, bytes]] = {}
        super().__init__(("127.0.0.1", 0), Answer)
        self.url = f"http://127.0.0.1:{self.server_port}"


class Answer(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        path = self.path.split("?")[0]
        status, code, content = self.server.answers.get(path, (404, "", b""))
        self.send_response(status)
        if code:
            self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    do_HEAD = do_GET  # noqa: N815

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, args=[0.02])
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture
def hub(server: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(datasets.config, "HF_ENDPOINT", server.url)
    return server


def test_http(server: Server) -> None:
    server.answers["/data.jsonl"] = (200, "", json_lines(ROWS))
    assert values(f"{server.url}/data.jsonl?token=secret") == ROWS


@pytest.mark.parametrize(
    ("status", "error"), [(403, DataError), (404, DataError), (500, TransientError)]
)
def test_http_errors_are_told_apart(server: Server, status: int, error: type[Exception]) -> None:
    server.answers["/data.jsonl"] = (status, "", b"")
    with pytest.raises(error) as caught:
        read(f"{server.url}/data.jsonl?token=secret")
    assert "secret" not in str(caught.value)
    assert f"{server.url}/data.jsonl" in str(caught.value)


def test_an_unreachable_host_is_transient(server: Server) -> None:
    url = server.url
    server.server_close()
    with pytest.raises(TransientError, match="cannot be reached") as caught:
        read(f"{url}/data.jsonl")
    assert caught.value.__cause__ is not None


@pytest.mark.parametrize(
    ("status", "code", "words"),
    [
        (404, "RepoNotFound", "doesn't exist on the Hub"),
        (404, "RevisionNotFound", "Revision 'v1' doesn't exist"),
        (401, "GatedRepo", "gated dataset"),
    ],
)
def test_what_the_hub_does_not_have(hub: Server, status: int, code: str, words: str) -> None:
    hub.answers["/datasets/some/data/resolve/v1/README.md"] = (status, code, b"")
    with pytest.raises(DataError, match=words):
        read("some/data", revision="v1")


def test_a_failing_hub_is_transient(hub: Server) -> None:
    hub.answers["/datasets/some/data/resolve/v1/README.md"] = (404, "EntryNotFound", b"")
    hub.answers["/api/datasets/some/data/revision/v1"] = (502, "", b"")
    with pytest.raises(TransientError, match=r"no local file .* the hub did not answer") as caught:
        read("some/data", revision="v1")
    assert caught.value.__cause__ is not None


def test_offline_mode_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    with pytest.raises(
        DataError, match=r"some-data is no local file or folder, and HF_HUB_OFFLINE"
    ):
        read("some-data")
