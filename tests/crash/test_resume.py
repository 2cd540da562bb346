"""Whatever breaks a run off: no row is lost, none is there twice, none is wrong."""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from store_helpers import ENVIRONMENT, SUPPORT

from gradgate.common.run_folder import SCORE_SCHEMA
from gradgate.config import DataConfig, ModelConfig, ScoringConfig
from gradgate.data.prepare import Prepared, prepare
from gradgate.data.tokens import content_digest
from gradgate.errors import StoreError
from gradgate.models.identity import identify_model, load_model
from gradgate.scoring.run import score_dataset
from gradgate.scoring.store.file import StoreFile
from gradgate.scoring.store.upkeep import Verified, summarise, verify
from helpers import MODEL, identified, write_jsonl


@pytest.fixture(scope="module")
def loaded():
    return load_model(ModelConfig(path=str(MODEL), device="cpu", dtype="float32"))


def prepared_rows(folder: Path, loaded, targets: list[str]) -> Prepared:
    folder.mkdir(exist_ok=True)
    rows = [{"prompt": "Say it: ", "completion": target} for target in targets]
    source = write_jsonl(folder / "rows.jsonl", rows)
    return prepare(DataConfig(source=str(source)), loaded.tokenizer, 512, folder)


def entropies(path: Path) -> list[float]:
    return pq.read_table(path)["spectral_entropy"].to_pylist()


@pytest.mark.slow
def test_runs_that_are_killed_lose_nothing(tmp_path):
    """Fifty and more runs, killed at random moments, most of them in the middle of scoring."""
    done = subprocess.run(
        [sys.executable, str(SUPPORT / "kill_loop.py"), str(tmp_path), "50"],
        env=ENVIRONMENT,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["differences"] == []
    assert found["killed"] == 50
    assert found["scored_again"] == 0
    assert found["reused"] == 200
    assert not [name for name in found["left"] if name.endswith((".part", ".work"))]


def test_only_new_and_changed_rows_are_scored(tmp_path, loaded):
    store = tmp_path / "scores.db"
    first = prepared_rows(tmp_path / "a", loaded, [f"value {i}" for i in range(40)])
    again = prepared_rows(
        tmp_path / "b", loaded, ["new", *(f"value {i}" for i in range(1, 40)), "value 7", "changed"]
    )
    model = identified(loaded)
    summary = score_dataset(first, model, ScoringConfig(), tmp_path / "a.parquet", store)
    assert (summary.n_scored, summary.n_reused) == (40, 0)
    summary = score_dataset(again, model, ScoringConfig(), tmp_path / "b.parquet", store)
    assert (summary.n_scored, summary.n_reused, summary.n_rows) == (2, 40, 42)
    assert entropies(tmp_path / "b.parquet")[1:40] == entropies(tmp_path / "a.parquet")[1:]
    score_dataset(again, model, ScoringConfig(), tmp_path / "alone.parquet")
    for stored, alone in zip(
        entropies(tmp_path / "b.parquet"), entropies(tmp_path / "alone.parquet"), strict=True
    ):
        assert stored == pytest.approx(alone, abs=2e-5)


def test_the_model_is_not_loaded_when_every_score_is_known(tmp_path, loaded):
    prepared = prepared_rows(tmp_path / "a", loaded, ["one", "two"])
    found = identify_model(ModelConfig(path=str(MODEL), device="cpu"))
    store = tmp_path / "scores.db"
    score_dataset(prepared, found, ScoringConfig(), tmp_path / "a.parquet", store)

    def load():
        raise AssertionError("loaded")

    unloaded = type(found)(found.device, found.dtype, found.identity, load)
    score_dataset(prepared, unloaded, ScoringConfig(), tmp_path / "b.parquet", store)
    assert entropies(tmp_path / "a.parquet") == entropies(tmp_path / "b.parquet")
    with pytest.raises(AssertionError, match="loaded"):  # another setting is another score
        score_dataset(prepared, unloaded, ScoringConfig(k=8), tmp_path / "c.parquet", store)


@pytest.mark.parametrize("change", [{"k": 4}, {"sha256": "0" * 64}])
def test_a_store_of_another_model_or_setting_is_of_no_use(tmp_path, loaded, change):
    prepared = prepared_rows(tmp_path / "a", loaded, [f"value {i}" for i in range(9)])
    store, model = tmp_path / "scores.db", identified(loaded)
    score_dataset(prepared, model, ScoringConfig(), tmp_path / "a.parquet", store)
    config = ScoringConfig()
    if "sha256" in change:
        identity = {**model.identity, **change}
        model = type(model)(model.device, model.dtype, identity, model.load)
    else:
        config = ScoringConfig(**change)
    summary = score_dataset(prepared, model, config, tmp_path / "b.parquet", store)
    assert (summary.n_scored, summary.n_reused) == (9, 0)


def test_another_mode_scores_nothing_again(tmp_path, loaded):
    prepared = prepared_rows(
        tmp_path / "a", loaded, [f"value {i} " * (1 + i % 4) for i in range(9)]
    )
    store, model = tmp_path / "scores.db", identified(loaded)
    score_dataset(prepared, model, ScoringConfig(), tmp_path / "crop.parquet", store)
    config = ScoringConfig(mode="full")
    summary = score_dataset(prepared, model, config, tmp_path / "full.parquet", store)
    assert (summary.n_scored, summary.n_reused) == (0, 9)
    crop, full = (pq.read_table(tmp_path / f"{mode}.parquet") for mode in ("crop", "full"))
    assert crop["spectral_entropy"].equals(crop["entropy_crop"])
    assert full["spectral_entropy"].equals(full["entropy_full"])
    assert not crop["spectral_entropy"].equals(full["spectral_entropy"])
    rest = [name for name in SCORE_SCHEMA.names if name != "spectral_entropy"]
    assert crop.select(rest).equals(full.select(rest))


def test_the_table_is_the_same_whether_its_scores_were_known(tmp_path, loaded):
    targets = [f"value {i % 13} " * (1 + i % 4) for i in range(40)]
    prepared = prepared_rows(tmp_path / "a", loaded, targets)
    store, model = tmp_path / "scores.db", identified(loaded)
    for name in ("first", "again"):
        score_dataset(prepared, model, ScoringConfig(), tmp_path / f"{name}.parquet", store)
    score_dataset(prepared, model, ScoringConfig(), tmp_path / "without.parquet")
    first, again, without = (
        pq.read_table(tmp_path / f"{name}.parquet") for name in ("first", "again", "without")
    )
    assert first.equals(again)
    assert first.equals(without)
    assert first["gradient_recurrence"].null_count == 0


def test_a_store_of_the_first_version_is_scored_again(tmp_path, loaded, caplog):
    """As an earlier gradgate wrote it, for the same model and samples."""
    prepared = prepared_rows(tmp_path / "a", loaded, [f"value {i}" for i in range(9)])
    store, model = tmp_path / "scores.db", identified(loaded)
    score_dataset(prepared, model, ScoringConfig(), tmp_path / "a.parquet", store)
    connection = sqlite3.connect(store)
    with connection:
        (fields,) = connection.execute("SELECT fields FROM contexts").fetchone()
        old = json.dumps({**json.loads(fields), "mode": "crop", "maths": 1})
        connection.execute("UPDATE contexts SET fields = ?", (old,))
        connection.execute("UPDATE scores SET record = substr(record, 1, 50)")
        connection.execute("PRAGMA user_version = 1")
    connection.close()
    summary = score_dataset(prepared, model, ScoringConfig(), tmp_path / "b.parquet", store)
    assert (summary.n_scored, summary.n_reused) == (9, 0)
    assert "9 rows of" in caplog.text
    assert "scored again" in caplog.text
    assert entropies(tmp_path / "a.parquet") == entropies(tmp_path / "b.parquet")
    with StoreFile(store) as opened:
        assert verify(opened) == Verified(9, 0, 0, None)
        assert [line.rows for line in summarise(opened)] == [9]


def test_a_truncated_store_costs_time_and_no_row(tmp_path, loaded):
    prepared = prepared_rows(tmp_path / "a", loaded, [f"value {i}" for i in range(300)])
    store, model = tmp_path / "scores.db", identified(loaded)
    score_dataset(prepared, model, ScoringConfig(), tmp_path / "a.parquet", store)
    whole = store.stat().st_size
    for size in (0, 100, 4096, whole // 2, whole - 1):
        os.truncate(store, min(size, store.stat().st_size))
        score_dataset(prepared, model, ScoringConfig(), tmp_path / "b.parquet", store)
        for one, other in zip(
            entropies(tmp_path / "a.parquet"), entropies(tmp_path / "b.parquet"), strict=True
        ):
            assert one == pytest.approx(other, abs=2e-5)


FULL_DISK = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
limit = int(sys.argv.pop(1))
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
from gradgate.__main__ import main
main()
"""


@pytest.mark.slow
def test_a_full_disk_is_a_clear_error_and_what_was_scored_is_kept(tmp_path, fresh_state, commands):
    rows = [{"prompt": f"Say {i}: ", "completion": f"it is {i % 97}"} for i in range(1500)]
    source = write_jsonl(tmp_path / "rows.jsonl", rows)
    command = ["score", str(source), "--model", str(MODEL), "--output", str(tmp_path / "s.parquet")]
    for limit, what in ((60_000, "File too large"), (150_000, "score store")):
        # while the samples are written, and while their scores are
        full = commands.run(FULL_DISK, limit, *command)
        assert full.returncode == 2, full.stderr
        assert "error: " in full.stderr
        assert what in full.stderr
        assert "Traceback" not in full.stderr
        assert not (tmp_path / "s.parquet").exists()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["rows.jsonl", fresh_state.name]
    whole = commands.run(FULL_DISK, 10**9, *command)
    assert whole.returncode == 0, whole.stderr
    table = pq.read_table(tmp_path / "s.parquet").to_pandas()
    assert table["row"].tolist() == list(range(1500))
    assert (table["status"] == "scored").all()


def test_a_store_that_is_too_small_for_its_dataset_says_so(tmp_path, loaded, monkeypatch):
    prepared = prepared_rows(tmp_path / "a", loaded, ["one", "two", "three"])
    monkeypatch.setattr("gradgate.scoring.store.scores.ScoreStore.put", lambda self, scores: None)
    with pytest.raises(StoreError, match="store_max_mib"):
        score_dataset(
            prepared, identified(loaded), ScoringConfig(), tmp_path / "a.parquet", tmp_path / "s.db"
        )
    assert not (tmp_path / "a.parquet").exists()


def test_a_failed_row_is_tried_again_by_the_next_run(tmp_path, loaded):
    import torch

    prepared = prepared_rows(tmp_path / "a", loaded, ["fine", "broken ~", "fine too"])
    store = tmp_path / "scores.db"
    broken = load_model(ModelConfig(path=str(MODEL), device="cpu", dtype="float32"))
    (token,) = broken.tokenizer("~", add_special_tokens=False)["input_ids"]
    with torch.no_grad():
        broken.model.get_input_embeddings().weight[token] = float("nan")
    first = score_dataset(
        prepared, identified(broken), ScoringConfig(), tmp_path / "a.parquet", store
    )
    assert (first.n_failed, first.n_scored) == (1, 3)
    again = score_dataset(
        prepared, identified(loaded), ScoringConfig(), tmp_path / "b.parquet", store
    )
    assert (again.n_failed, again.n_scored, again.n_reused) == (0, 1, 2)
    assert all(value is not None for value in entropies(tmp_path / "b.parquet"))


def test_equal_tokens_with_another_loss_mask_are_another_sample(loaded):
    from gradgate.data.tokens import Tokens

    ids = [1, 5, 6, 7]
    one, other = Tokens(ids, [False, True, True, True]), Tokens(ids, [False, False, True, True])
    assert content_digest(one) != content_digest(other)
    assert content_digest(one) == content_digest(Tokens(list(ids), list(one.is_target)))


def test_progress_counts_what_is_known(tmp_path, loaded):
    store, model = tmp_path / "scores.db", identified(loaded)
    first = prepared_rows(tmp_path / "a", loaded, [f"value {i}" for i in range(30)])
    score_dataset(first, model, ScoringConfig(), tmp_path / "a.parquet", store)
    more = prepared_rows(tmp_path / "b", loaded, [f"value {i}" for i in range(60)])
    seen: list[tuple[int, int]] = []
    score_dataset(
        more, model, ScoringConfig(batch_tokens=32), tmp_path / "b.parquet", store,
        lambda done, total: seen.append((done, total)),
    )  # fmt: skip
    assert seen[0] == (30, 60)
    assert seen[-1] == (60, 60)
    assert seen == sorted(seen)
    shutil.rmtree(tmp_path / "a")
