"""The folder of shards on a disk, in memory and in an object store."""

import os
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest
from moto.server import ThreadedMotoServer
from shard_helpers import digest, merged, planned, prepared_at, scored, some_rows, worker_at

from gradgate.errors import ConfigError, StoreError, TransientError
from gradgate.scoring.shards.folder import ShardFolder
from gradgate.scoring.shards.place import Shard


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A bucket of an S3-compatible store."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "gradgate")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    fsspec.filesystem("s3").mkdir("bucket")
    yield "s3://bucket/shards"
    server.stop()
    fsspec.filesystem("s3").clear_instance_cache()


def test_a_store_gives_the_same_bytes_as_a_disk(tmp_path: Path, store: str) -> None:
    prepared = prepared_at(tmp_path / "prepared", some_rows(40))
    for name, address in (
        ("disk", tmp_path / "shards"),
        ("store", store),
        ("memory", "memory://s"),
    ):
        folder, _ = planned(address, prepared)
        scored(folder, 3, [2, 0])
        with pytest.raises(ConfigError, match="shard 2/3 is not published"):
            merged(folder, tmp_path / "scores.parquet")
        worker_at(ShardFolder(address)).score(Shard(1, 3))
        assert worker_at(folder).score(Shard(0, 3)).n_scored == 0
        merged(folder, tmp_path / f"{name}.parquet")
        assert folder.names("parts") == []
    digests = {digest(tmp_path / f"{name}.parquet") for name in ("disk", "store", "memory")}
    assert len(digests) == 1
    assert os.environ["AWS_ENDPOINT_URL"]


def test_a_file_has_its_name_when_it_is_whole(tmp_path: Path) -> None:
    for folder in (ShardFolder(tmp_path / "shards"), ShardFolder("memory://whole")):

        def half_written(folder: ShardFolder = folder) -> None:
            with folder.written("segments/one.parquet") as part:
                part.write_bytes(b"half")
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            half_written()
        assert folder.names("segments") == []
        folder.put("segments/one.parquet", b"whole")
        assert folder.names("segments") == ["one.parquet"]
        assert folder.read("segments/one.parquet") == b"whole"
        folder.remove(["segments/one.parquet", "segments/one.parquet"])
        assert not folder.has("segments/one.parquet")


def test_what_killed_writers_left_is_cleared(tmp_path: Path) -> None:
    folder = ShardFolder(tmp_path)
    for name in ("building/segments-x.0a", "parts/00000001.parquet", "segments/x.parquet"):
        folder.put(name, b"half")
    folder.clear_leftovers()
    left = [path.name for path in tmp_path.rglob("*") if path.is_file()]
    assert left == ["x.parquet"]


def test_a_url_with_credentials_is_refused_and_not_repeated() -> None:
    for address in ("s3://key:secret@bucket/x", "https://host/x?token=secret"):
        with pytest.raises(ConfigError, match="environment") as caught:
            ShardFolder(address)
        assert "secret" not in str(caught.value)


def test_what_goes_wrong_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="not known: nonsense"):
        ShardFolder("nonsense://x")
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StoreError, match="cannot be written"):
        ShardFolder(tmp_path / "file").put("plan.json", b"{}")
    with pytest.raises(StoreError, match=r"none.json cannot be read"):
        ShardFolder(tmp_path).read("none.json")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    fsspec.filesystem("s3").clear_instance_cache()
    with pytest.raises(TransientError, match="cannot be"):
        ShardFolder("s3://bucket/shards").names("segments")
