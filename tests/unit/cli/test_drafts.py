"""`gradgate prepare --shard`: many workers tokenize the rows, and one writes the plan."""

import json
from hashlib import sha256
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from cli_helpers import Done, gradgate, ok, refused

from gradgate.errors import StoreError
from helpers import MODEL, diverse_rows, write_jsonl

MODEL_OPTIONS = ["--model", MODEL, "--device", "cpu", "--dtype", "float32"]


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch, fresh_state: Path) -> None:
    monkeypatch.setattr("gradgate.scoring.shards.drafts.BLOCK_ROWS", 4)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Rows of which two are no samples; the first line is none, so that the second decides."""
    rows = diverse_rows(40)
    path = write_jsonl(tmp_path / "rows.jsonl", [*rows, {"question": "x", "answers": 3}, *rows[:5]])
    path.write_text('{"cut\n' + path.read_text())
    return path


def prepare(source: Path, folder: Path, *options: object) -> Done:
    return gradgate("prepare", source, *MODEL_OPTIONS, "--shards", folder, *options)


def draft(source: Path, folder: Path, shard: str, *options: object) -> Done:
    return prepare(source, folder, "--shard", shard, *options)


def digests(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {
        str(path.relative_to(folder)): sha256(path.read_bytes()).hexdigest()
        for path in files
        if path.name != "rejected.parquet"  # written in row groups of its own
    }


def test_drafts_in_any_order_come_to_the_plan_of_one_worker(source: Path, tmp_path: Path) -> None:
    one, many = tmp_path / "one", tmp_path / "many"
    alone = ok(prepare(source, one))
    lines = ok(draft(source, many, "3/3"))
    assert lines[-1] == (
        f"draft 3/3 of 47 rows: 15 samples, 0 rejected; when all 3 are there: gradgate prepare "
        f"DATA --shards {many}"
    )
    assert ok(draft(source, many, "1/3"))[-1].startswith("draft 1/3 of 47 rows: 15 samples, 1 rej")
    assert ok(draft(source, many, "2/3"))[-1].startswith("draft 2/3 of 47 rows: 15 samples, 1 rej")
    assert ok(draft(source, many, "2/3"))[-1].startswith("draft 2/3 is there already: 15 samples")
    together = ok(prepare(source, many))
    assert together[0] == "put together 47 rows: 45 samples, 2 rejected"
    assert [line.replace(str(many), str(one)) for line in together[1:]] == alone[1:]
    assert digests(many) == digests(one)
    rejected = [pq.read_table(folder / "rejected.parquet").to_pylist() for folder in (one, many)]
    assert rejected[0] == rejected[1]
    assert [row["row"] for row in rejected[0]] == [0, 41]
    assert not list((many / "drafts").iterdir())
    assert "is prepared already; next: gradgate score" in refused(draft(source, many, "1/3"))
    assert ok(prepare(source, many))[0] == "fetched 47 rows: 45 samples, 2 rejected"


def test_a_worker_without_rows_of_its_own_has_an_empty_draft(tmp_path: Path) -> None:
    source, shards = write_jsonl(tmp_path / "rows.jsonl", diverse_rows(6)), tmp_path / "shards"
    for number, n_samples in ((1, 4), (2, 2), (3, 0)):
        said = f"draft {number}/3 of 6 rows: {n_samples} samples, 0 rejected"
        assert ok(draft(source, shards, f"{number}/3"))[-1].startswith(said)
    assert ok(prepare(source, shards))[1].startswith("6 distinct samples")


def test_drafts_that_do_not_fit_together_are_refused(source: Path, tmp_path: Path) -> None:
    shards = tmp_path / "shards"
    ok(draft(source, shards, "2/2"))
    said = refused(prepare(source, shards))
    assert f"1 of 2 drafts are missing in {shards}, 1/2 among them; say gradgate prepare" in said
    assert said.endswith(f"--shards {shards} --shard 1/2")
    assert "and not 64, settings of data " in refused(
        draft(source, shards, "2/2", "--max-tokens", "64")
    )
    ok(draft(source, shards, "1/3"))
    assert "of several splits (of 2 and of 3)" in refused(prepare(source, shards))
    for file in (shards / "drafts").glob("*-of-00003*"):
        file.unlink()
    ok(draft(source, shards, "1/2", "--preference", "rejected"))
    assert "settings of data " in refused(prepare(source, shards))
    for file in (shards / "drafts").glob("00001*"):
        file.unlink()
    source.write_text(source.read_text() + '{"question": "one more?", "answers": ["yes"]}\n')
    ok(draft(source, shards, "1/2"))
    said = refused(prepare(source, shards))
    assert "the source changed while the drafts" in said
    assert "(rows by draft 1/2: 48, 2/2: 47)" in said
    assert not (shards / "plan.json").exists()


@pytest.mark.parametrize("damaged", ["parquet", "rejected.parquet", "json"])
def test_a_damaged_draft_is_named(source: Path, tmp_path: Path, damaged: str) -> None:
    shards = tmp_path / "shards"
    for number in (1, 2):
        ok(draft(source, shards, f"{number}/2"))
    path = shards / "drafts" / f"00002-of-00002.{damaged}"
    path.write_bytes(path.read_bytes()[:-9])
    assert f"draft 2/2 in {shards} is damaged" in refused(prepare(source, shards))
    path.with_name("00002-of-00002.json").unlink()
    ok(draft(source, shards, "2/2"))
    ok(prepare(source, shards))


def test_a_draft_of_another_version_is_refused(source: Path, tmp_path: Path) -> None:
    shards = tmp_path / "shards"
    ok(draft(source, shards, "1/1"))
    path = shards / "drafts" / "00001-of-00001.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": 9}))
    assert "has format 9, this gradgate knows 1" in refused(prepare(source, shards))


def test_rows_that_are_no_samples_are_an_error(tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "rows.jsonl", [{"question": "x", "answers": 3}] * 5)
    shards = tmp_path / "shards"
    ok(draft(source, shards, "1/1"))
    said = refused(prepare(source, shards))
    assert "none of the 5 rows of" in said
    assert said.endswith(f"the reasons are in {shards}/drafts")


def test_files_of_other_names_are_no_drafts(source: Path, tmp_path: Path) -> None:
    shards = tmp_path / "shards"
    (shards / "drafts").mkdir(parents=True)
    for name in ("00000-of-00000", "00003-of-00002", "notes"):
        (shards / "drafts" / f"{name}.json").write_text("{}")
    assert ok(prepare(source, shards))[0] == "fetched 47 rows: 45 samples, 2 rejected"
    far = tmp_path / "far"
    (far / "drafts").mkdir(parents=True)
    (far / "drafts" / "00001-of-99999999.json").write_text("{}")
    said = refused(prepare(source, far))
    assert "99,999,998 of 99,999,999 drafts are missing" in said
    assert len(said) < 400 + len(str(far)) * 3


def test_a_table_that_the_summary_does_not_vouch_for_is_refused(
    source: Path, tmp_path: Path
) -> None:
    shards = tmp_path / "shards"
    ok(draft(source, shards, "1/1"))
    path = shards / "drafts" / "00001-of-00001.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "files": {}}))
    assert "draft 1/1 in" in refused(prepare(source, shards))


def test_rejected_rows_are_kept_before_the_plan_says_that_all_is_there(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise StoreError("the disk is full")

    for shards in (tmp_path / "one", tmp_path / "many"):
        if shards.name == "many":
            ok(draft(source, shards, "1/1"))
        with monkeypatch.context() as broken:
            broken.setattr("gradgate.cli.shards.write_plan", full)
            assert "the disk is full" in refused(prepare(source, shards))
        rejected = pq.read_table(shards / "rejected.parquet").to_pylist()
        assert [one["row"] for one in rejected] == [0, 41]
        assert not (shards / "plan.json").exists()
        ok(prepare(source, shards))
