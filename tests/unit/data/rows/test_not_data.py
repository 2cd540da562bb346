"""Files that are something else than data, and places that are none: what they are called."""

import gzip
import sys
import tomllib
from pathlib import Path

import pytest

from gradgate.config import DataConfig
from gradgate.data.sources.source import open_rows
from gradgate.errors import DataError

ROOT = Path(__file__).resolve().parents[4]
GZIPPED = gzip.compress(b"{}", mtime=0)  # the same in every process
LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:3c\nsize 48213\n"


def read(source: Path | str) -> None:
    list(open_rows(DataConfig(source=str(source))))


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.jsonl", LFS, "Git LFS pointer"),
        ("a.parquet", LFS, "git lfs pull"),
        ("a.arrow", LFS, "git lfs pull"),
        ("a.csv.gz", LFS, "git lfs pull"),
        ("a.json", b"\n<!DOCTYPE html><html>", "is a web page"),
        ("a.jsonl", b"PK\x03\x04...", "is a zip archive; unpack it"),
        ("a.jsonl", GZIPPED, "compressed by gzip; give its name the extension .gz"),
        ("a.csv", b"PAR1....PAR1", "is Parquet; give its name the extension .parquet"),
        ("a.parquet", b"PAR1...........", "is cut: Parquet ends with its footer"),
        ("a.jsonl", bytes(100), "begins with zeros: a download that did not end"),
        ("a.jsonl.incomplete", b"{}", "a download that did not end"),
        ("a.zip", b"PK", "unpack it"),
        ("a.jsonl.gz", b'{"prompt": "p"}', "no gzip file, or damaged.*take .gz off its name"),
    ],
)  # fmt: skip
def test_a_file_that_is_something_else(
    tmp_path: Path, name: str, content: bytes, words: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=words):
        read(tmp_path / name)


@pytest.mark.parametrize(
    ("source", "extra"), [("s3://b/x.jsonl", "s3"), ("gs://b/x.jsonl", "gcs"), ("gcs://b", "gcs")]
)
def test_a_store_without_its_package_names_the_extra(
    monkeypatch: pytest.MonkeyPatch, source: str, extra: str
) -> None:
    for package in ("s3fs", "gcsfs"):
        monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(DataError, match=rf"pip install 'gradgate\[{extra}\]'"):
        read(source)
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert extra in settings["project"]["optional-dependencies"]


def test_a_path_in_a_folder_that_is_here_is_no_hub_id(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "data").mkdir()
    monkeypatch.chdir(tmp_path)
    for source in ("data/train", "other/train.xlsx", "train.txt", "data/x.tsv", "x.jsonl.zst"):
        with pytest.raises(DataError, match="no such file or folder"):
            read(source)
