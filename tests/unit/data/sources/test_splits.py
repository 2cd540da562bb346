"""Folders that are laid out as on the hub have the splits that load_dataset sees."""

import json
from pathlib import Path

import datasets
import pytest

from gradgate.config import DataConfig
from gradgate.data.sources.source import open_rows
from gradgate.errors import DataError

CARD = """---
license: mit
configs:
- config_name: main
  default: true
  data_files:
  - split: train
    path: [part/a.jsonl, part/b.jsonl]
  - split: held
    path: held*
- config_name: more
  data_files: extra/*
dataset_info:
- config_name: main
  splits:
  - {name: train, num_bytes: 1, num_examples: 2}
---
# Some data
"""


def put(folder: Path, *names: str) -> None:
    """Files with one row each, which names the file."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(json.dumps({"text": name}) + "\n")


def texts(source: Path, **settings: object) -> list[str]:
    config = DataConfig.model_validate({"source": str(source), **settings})
    return [str((row.value or {})["text"]) for row in open_rows(config)]


@pytest.mark.parametrize(
    "names",
    [
        tuple(f"data/{x}.jsonl" for x in ("train-00000-of-00001", "test-00000-of-00001")),
        ("train/0.jsonl", "train/1.jsonl", "test/0.jsonl"),
        ("train_0.jsonl", "train_1.jsonl", "test.jsonl"),
    ],
)  # fmt: skip
def test_splits_by_names(tmp_path: Path, names: tuple[str, ...]) -> None:
    put(tmp_path, *names)
    loaded = datasets.load_dataset(str(tmp_path), cache_dir=str(tmp_path / ".cache"))
    for split in ("train", "test"):
        assert texts(tmp_path, split=split) == loaded[split]["text"][:]
    assert texts(tmp_path, split="all") == sorted(names)
    with pytest.raises(DataError, match=r"has the splits train, test; name one in data.split"):
        texts(tmp_path)
    with pytest.raises(DataError, match=r"no split 'dev'; data.split is one of train, test"):
        texts(tmp_path, split="dev")


def test_the_only_split_needs_no_name(tmp_path: Path) -> None:
    put(tmp_path, "data/train-00000-of-00001.jsonl")
    assert texts(tmp_path) == ["data/train-00000-of-00001.jsonl"]


def test_files_of_no_split_are_not_left_out_silently(tmp_path: Path) -> None:
    put(tmp_path, "train.jsonl", "more.jsonl")
    with pytest.raises(DataError, match=r"of no split is 'more.jsonl'"):
        texts(tmp_path)
    assert texts(tmp_path, split="train") == ["train.jsonl"]
    assert texts(tmp_path, split="all") == ["more.jsonl", "train.jsonl"]


def test_a_card_with_configurations(tmp_path: Path) -> None:
    put(tmp_path, "part/a.jsonl", "part/b.jsonl", "held-1.jsonl", "extra/c.jsonl", "extra/d.jsonl")
    (tmp_path / "README.md").write_text(CARD)
    assert texts(tmp_path, split="train") == ["part/a.jsonl", "part/b.jsonl"]
    assert texts(tmp_path, split="held") == ["held-1.jsonl"]
    assert texts(tmp_path, name="more") == ["extra/c.jsonl", "extra/d.jsonl"]
    with pytest.raises(DataError, match=r"no configuration 'x'; data.name is one of main, more"):
        texts(tmp_path, name="x")
    with pytest.raises(DataError, match=r"has the splits train, held"):
        texts(tmp_path)


def test_fewer_rows_than_the_card_says(tmp_path: Path) -> None:
    put(tmp_path, "part/a.jsonl", "held-1.jsonl", "extra/c.jsonl")
    (tmp_path / "README.md").write_text(CARD)
    with pytest.raises(DataError, match=r"1 rows, and README.md says 2.*expected_rows to 1"):
        texts(tmp_path, split="train")
    assert texts(tmp_path, split="train", expected_rows=1) == ["part/a.jsonl"]


@pytest.mark.parametrize(
    "head", ["configs: 3", "configs: [{data_files: x}]", "a: [", "- x", "configs: [[]]"]
)
def test_a_malformed_card(tmp_path: Path, head: str) -> None:
    put(tmp_path, "data.jsonl")
    (tmp_path / "README.md").write_text(f"---\n{head}\n---\n")
    with pytest.raises(DataError, match=r"README.md is malformed"):
        texts(tmp_path)


def test_a_card_reaches_nothing_outside_the_folder(tmp_path: Path) -> None:
    put(tmp_path, "secret.jsonl", "folder/data.jsonl")
    card = "configs: [{config_name: a, data_files: ../secret.jsonl}]"
    (tmp_path / "folder/README.md").write_text(f"---\n{card}\n---\n")
    with pytest.raises(DataError, match="of which no file is there"):
        texts(tmp_path / "folder")
