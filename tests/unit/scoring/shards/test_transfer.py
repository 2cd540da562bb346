"""Segments go into a score store, and a store's scores out into segments."""

from pathlib import Path

import pytest
from shard_helpers import loaded_model, merged, planned, prepared_at, scored, some_rows
from store_helpers import CONTEXT, filled, key, score_of, sql

from gradgate.config import ScoringConfig
from gradgate.errors import ConfigError, StoreError
from gradgate.scoring.run import score_dataset
from gradgate.scoring.shards.folder import ShardFolder
from gradgate.scoring.shards.transfer import export, import_segment, segments_in
from gradgate.scoring.store.scores import ScoreStore
from helpers import identified


def test_a_run_finds_every_row_of_imported_shards(tmp_path: Path) -> None:
    prepared = prepared_at(tmp_path / "prepared", some_rows(60))
    folder, _ = planned(tmp_path / "shards", prepared)
    scored(folder, 3)
    merged(folder, tmp_path / "merged.parquet")
    store = tmp_path / "scores.db"
    found = [import_segment(folder, name, store) for name in segments_in(folder)]
    assert sum(one.n_samples for one in found) == 60
    assert {one.n_outdated for one in found} == {0}
    model, output = identified(loaded_model()), tmp_path / "table.parquet"
    summary = score_dataset(prepared, model, ScoringConfig(), output, store)
    assert (summary.n_scored, summary.n_reused) == (0, 66)


def test_a_store_comes_back_exactly(tmp_path: Path) -> None:
    content = filled(tmp_path / "one.db", 5_000)
    ((path, n_samples),) = export(tmp_path / "one.db", tmp_path / "out", None)
    assert n_samples == 5_000
    folder = ShardFolder(tmp_path / "out")
    assert segments_in(folder) == [path.name]
    found = import_segment(folder, path.name, tmp_path / "two.db")
    assert (found.context, found.n_samples, found.n_outdated) == (CONTEXT, 5_000, 0)
    with ScoreStore(tmp_path / "two.db", CONTEXT) as store:
        assert store.get(list(content)) == content
    ((again, _),) = export(tmp_path / "two.db", tmp_path / "again", None)
    assert again.read_bytes() == path.read_bytes()


def test_what_a_store_knows_stays(tmp_path: Path) -> None:
    filled(tmp_path / "one.db", 20)
    ((path, _),) = export(tmp_path / "one.db", tmp_path / "out", None)
    number = next(n for n in range(20) if score_of(key(n)).status == "scored")
    other = next(n for n in range(21, 99) if score_of(key(n)).status == "scored")
    with ScoreStore(tmp_path / "two.db", CONTEXT) as store:
        store.put({key(number): score_of(key(other))})
        import_segment(ShardFolder(tmp_path / "out"), path.name, tmp_path / "two.db")
        assert store.get([key(number)]) == {key(number): score_of(key(other))}


def test_nothing_of_a_damaged_segment_goes_in(tmp_path: Path) -> None:
    filled(tmp_path / "one.db", 5_000)
    ((path, _),) = export(tmp_path / "one.db", tmp_path / "out", None)
    content = bytearray(path.read_bytes())
    content[len(content) * 3 // 4] ^= 1
    path.write_bytes(content)
    with pytest.raises(StoreError, match="is damaged"):
        import_segment(ShardFolder(tmp_path / "out"), path.name, tmp_path / "two.db")
    assert not (tmp_path / "two.db").exists()


def test_damaged_rows_are_not_exported(tmp_path: Path) -> None:
    filled(tmp_path / "one.db", 9)
    sql(tmp_path / "one.db", "UPDATE scores SET record = x'00' WHERE key = ?", key(3))
    with pytest.raises(StoreError, match="cache verify"):
        export(tmp_path / "one.db", tmp_path / "out", None)
    assert [*(tmp_path / "out").iterdir()] == []


def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    filled(tmp_path / "one.db", 1)
    with pytest.raises(ConfigError, match=r"nothing of another/model"):
        export(tmp_path / "one.db", tmp_path / "out", "another/model")
    with pytest.raises(ConfigError, match="holds no segments"):
        segments_in(ShardFolder(tmp_path / "out"))
