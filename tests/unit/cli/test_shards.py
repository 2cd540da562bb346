"""`gradgate prepare`, `score --shards`, `merge`, and `cache import` and `export`."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest
from cli_helpers import Done, gradgate, ok, refused
from model_helpers import model_that_breaks_on

from gradgate.common.run_folder import SCORE_SCHEMA
from helpers import MODEL, diverse_rows, write_jsonl

SMALL = {
    "gradgate.scoring.shards.units.MIN_UNIT_TOKENS": 200,
    "gradgate.scoring.shards.units.MAX_UNIT_TOKENS": 200,
}


@pytest.fixture(autouse=True)
def small_units(monkeypatch: pytest.MonkeyPatch, fresh_state: Path) -> Path:
    """A state of the test's own, and units that a few rows fill."""
    for name, value in SMALL.items():
        monkeypatch.setattr(name, value)
    return fresh_state


def prepare(folder: Path, *options: object) -> Done:
    rows = [*diverse_rows(40), {"question": "x", "answers": 3}]
    source = write_jsonl(folder / "rows.jsonl", rows)
    return gradgate("prepare", source, *options, "--shards", folder / "shards")


def model_options(path: Path = MODEL) -> list[object]:
    return ["--model", path, "--device", "cpu", "--dtype", "float32"]


def test_from_rows_to_a_gate_that_finds_every_score(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shards = tmp_path / "shards"
    lines = ok(prepare(tmp_path, *model_options()))
    assert lines[0] == "fetched 41 rows: 40 samples, 1 rejected"
    assert lines[1] == f"1 rows rejected, reasons in {shards}/rejected.parquet"
    assert lines[2].startswith("40 distinct samples, ")
    assert lines[3] == f"next: gradgate score --shards {shards} --shard 1/5, and so on"
    lines = ok(gradgate("score", "--shards", shards, "--shard", "2/3"))
    assert lines[0] == f"scoring shard 2/3 with {MODEL} ..."
    assert f"of them scored now: {shards}/segments/00002-of-00003.parquet" in lines[1]
    for name, value in (("ID", "7"), ("MIN", "5"), ("COUNT", "3")):
        monkeypatch.setenv(f"SLURM_ARRAY_TASK_{name}", value)
    lines = ok(gradgate("score", "--shards", shards, "--shard", "auto"))
    assert lines[0] == "shard 3/3, by SLURM_ARRAY_TASK_ID 7, MIN 5, COUNT 3"
    said = refused(gradgate("merge", shards))
    assert f"shard 1/3 is not published; gradgate score --shards {shards} --shard 1/3" in said
    assert not (shards / "scores.parquet").exists()
    lines = ok(gradgate("score", "--shards", shards))
    assert [", 0 of them scored now" in line for line in lines[1:4]] == [False, True, True]
    assert lines[-1] == f"all shards are published; next: gradgate merge {shards}"
    lines = ok(gradgate("merge", shards))
    assert lines[0] == f"3 segments: 40 rows (40 distinct, 0 failed): {shards}/scores.parquet"
    assert lines[1].startswith("spectral entropy: ")
    assert lines[-1].startswith("40 scores are in ")
    assert pq.read_schema(shards / "scores.parquet").names == SCORE_SCHEMA.names
    output = tmp_path / "table.parquet"
    source = tmp_path / "rows.jsonl"
    lines = ok(gradgate("score", source, *model_options(), "--output", output))
    assert "40 known before, 0 samples scored" in lines[2]


def test_workers_may_name_the_configuration_and_another_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "gate.yaml"
    source = write_jsonl(tmp_path / "rows.jsonl", diverse_rows(20))
    file.write_text(
        f"data: {{source: {source}}}\nmodel: {{path: {MODEL}, device: cpu, dtype: float32}}\n"
        "detection: {methods: [recurrence]}\n"
    )
    shards = tmp_path / "shards"
    ok(gradgate("prepare", "--config", file, "--shards", shards))
    one = ["score", "--shards", shards, "--shard", "1/2"]
    for more, message in (
        (["--k", 8], "k 16 and not 8"),
        (["--config", file, "--mode", "full"], "mode crop and not full"),
        (["--dtype", "bfloat16"], "dtype float32 and not bfloat16"),
        (["--batch-tokens", 9], "batch_tokens none and not 9"),
        (["--shard", "9/8"], "from 1/8 to 8/8"),
        (["--output", tmp_path / "x.parquet"], "say --output to merge"),
    ):
        arguments = one[:3] if "--shard" in more else one
        assert message in refused(gradgate(*arguments, *more))
    assert not (shards / "segments").exists()
    ok(gradgate(*one, "--config", file))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["score", "x", "--model", "m"], "say --output FILE; or --shards FOLDER"),
        (["score", "x", "--model", "m", "--shard", "1/2", "--output", "o"], "or --shards FOLDER"),
        (["score", "--shards", "nowhere", "--shard", "1/2"], "nowhere is not prepared"),
        (["merge", "nowhere"], "nowhere is not prepared"),
        (["merge", "s3://key:secret@bucket/x"], "neither credentials nor a query"),
        (["cache", "import", "nowhere"], "nowhere holds no segments"),
        (["cache", "export", "folder"], "there is no score store"),
    ],
)
def test_what_cannot_be_done_is_one_line(arguments: list[str], message: str) -> None:
    assert message in refused(gradgate(*arguments))


def test_rows_that_are_no_samples_are_no_plan(tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "rows.jsonl", [{"prompt": "x", "completion": ""}])
    done = gradgate("prepare", source, *model_options(), "--shards", tmp_path / "shards")
    assert "none of the 1 rows" in refused(done)
    assert not (tmp_path / "shards" / "plan.json").exists()
    assert [*(tmp_path / "shards").iterdir()] == []


def test_scores_go_from_machine_to_machine(tmp_path: Path, small_units: Path) -> None:
    shards, out = tmp_path / "shards", tmp_path / "out"
    ok(prepare(tmp_path, *model_options()))
    ok(gradgate("score", "--shards", shards))
    ok(gradgate("merge", shards, "--no-store", "--output", tmp_path / "merged.parquet"))
    assert not (small_units / "scores.db").exists()
    assert not (shards / "scores.parquet").exists()
    done = gradgate("cache", "import", shards)
    assert done.exit_code == 0, done.stderr
    n_rows = [int(line.split()[0]) for line in done.stdout.splitlines()]
    assert sum(n_rows) == 40
    done = gradgate("cache", "export", out)
    assert done.exit_code == 0, done.stderr
    (line,) = done.stdout.splitlines()
    assert line.startswith(f"40 rows: {out}/")
    done = gradgate("cache", "import", out, "--store", tmp_path / "other.db")
    assert done.stdout.startswith(f"40 rows of {MODEL} (k = 16, float32): ")
    assert "40 rows, " in gradgate("cache", "show", "--store", tmp_path / "other.db").stdout


def test_rows_that_could_not_be_scored_end_with_1(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [*diverse_rows(5), {"question": "~", "answers": ["b"]}]
    source, shards = write_jsonl(tmp_path / "rows.jsonl", rows), tmp_path / "shards"
    model = model_that_breaks_on("~", tmp_path / "model")
    ok(gradgate("prepare", source, *model_options(model), "--shards", shards))
    ok(gradgate("score", "--shards", shards))
    done = gradgate("merge", shards)
    assert done.exit_code == 1
    last = f"1 rows could not be scored; `reason` in {shards}/scores.parquet says why"
    assert last in done.stderr.splitlines()
    table = pq.read_table(shards / "scores.parquet").to_pylist()
    assert [line["status"] for line in table] == ["scored"] * 5 + ["failed"]


def test_a_model_that_scores_nothing_is_an_error(tmp_path: Path) -> None:
    source, shards = write_jsonl(tmp_path / "rows.jsonl", [{"text": "~ ~"}]), tmp_path / "shards"
    model = model_that_breaks_on("~", tmp_path / "model")
    ok(gradgate("prepare", source, *model_options(model), "--shards", shards))
    ok(gradgate("score", "--shards", shards))
    assert "none of the 1 rows could be scored" in refused(gradgate("merge", shards))
    assert not (shards / "scores.parquet").exists()
