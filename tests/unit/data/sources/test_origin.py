"""What is known of the bytes of a source, held against other people's tools."""

import hashlib
import os
import subprocess
from pathlib import Path

import datasets
import pytest

from gradgate.config import DataConfig
from gradgate.data.sources.hub import read_hub
from gradgate.data.sources.origin import Origin
from gradgate.data.sources.source import open_rows
from gradgate.errors import DataError
from helpers import diverse_rows, write_jsonl

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def origin_of(source: object, n_rows: int) -> Origin:
    origin = Origin()
    assert len([*open_rows(DataConfig(source=str(source)), origin)]) == n_rows
    return origin


def listed(folder: Path, *names: str) -> str:
    done = subprocess.run(["sha256sum", *names], cwd=folder, capture_output=True, check=True)
    return hashlib.sha256(done.stdout).hexdigest()


def test_of_a_file_it_is_the_digest_of_its_bytes(tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "rows.jsonl", diverse_rows(5))
    found = origin_of(source, 5)
    assert found.sha256() == hashlib.sha256(source.read_bytes()).hexdigest()
    assert found.revision is None
    assert origin_of(f"file://{source}", 5).sha256() == found.sha256()


def test_of_a_folder_it_is_what_sha256sum_says_of_the_files_that_were_read(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    write_jsonl(tmp_path / "b" / "1.jsonl", diverse_rows(3))
    write_jsonl(tmp_path / "c.jsonl", diverse_rows(4))
    (tmp_path / "README.md").write_text("no data")
    expected = listed(tmp_path, "b/1.jsonl", "c.jsonl")
    assert origin_of(tmp_path, 7).sha256() == expected
    (tmp_path / "c.jsonl").rename(tmp_path / "a.jsonl")  # the rows come in another order
    assert origin_of(tmp_path, 7).sha256() != expected


def test_of_a_saved_dataset_it_is_that_of_its_files(tmp_path: Path) -> None:
    datasets.Dataset.from_list(diverse_rows(6)).save_to_disk(str(tmp_path / "saved"))
    name = "data-00000-of-00001.arrow"
    assert origin_of(tmp_path / "saved", 6).sha256() == listed(tmp_path / "saved", name)


def test_a_file_that_is_changed_while_it_is_read_is_an_error(tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "rows.jsonl", diverse_rows(5))
    origin = Origin()
    rows = open_rows(DataConfig(source=str(source)), origin)
    next(rows)
    os.utime(source, ns=(1, 1))
    list(rows)
    with pytest.raises(DataError, match=r"rows.jsonl was changed while it was read; run again"):
        origin.sha256()
    source.unlink()
    with pytest.raises(DataError, match=r"rows.jsonl cannot be read: No such file"):
        origin.sha256()


def test_of_another_machine_nothing_is_read_twice(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "rows.jsonl", diverse_rows(5))
    assert origin_of(f"simplecache::file://{tmp_path}/rows.jsonl", 5).sha256() is None


def cached(folder: Path) -> datasets.Dataset:
    """A dataset as `datasets` loads it from a folder of its cache."""
    rows = datasets.Dataset.from_list(diverse_rows(3))
    rows.save_to_disk(str(folder))
    return datasets.Dataset.from_file(str(folder / "data-00000-of-00001.arrow"))


@pytest.mark.parametrize(
    ("folders", "revision"),
    [
        ([COMMIT], COMMIT),
        (["0" * 64], None),  # what `datasets` calls the folder of what has no commit
        ([COMMIT, COMMIT[::-1]], None),
    ],
)
def test_of_the_hub_it_is_the_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folders: list[str], revision: str | None
) -> None:
    parts = [cached(tmp_path / "some___data" / "default" / "0.0.0" / name) for name in folders]
    loaded = datasets.concatenate_datasets(parts)
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: loaded)  # no hub here
    origin = Origin()
    assert len([*read_hub(DataConfig(source="some/data"), origin)]) == 3 * len(folders)
    assert (origin.revision, origin.sha256()) == (revision, None)
