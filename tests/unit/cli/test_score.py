"""`gradgate score` as a user types it."""

import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from cli_helpers import gradgate as run
from forked import COMMAND, Forker
from model_helpers import model_that_breaks_on
from safetensors.torch import load_file, save_file

from gradgate.common.run_folder import SCORE_SCHEMA
from helpers import MODEL, write_jsonl


def rows(n: int) -> list[dict[str, object]]:
    return [{"prompt": f"What is {i} plus {i}?", "completion": f"It is {2 * i}."} for i in range(n)]


def test_score_writes_the_table_and_says_what_it_did(tmp_path: Path, commands: Forker) -> None:
    source = write_jsonl(
        tmp_path / "rows.jsonl", [*rows(40), rows(1)[0], {"prompt": "x", "completion": 3}]
    )
    output = tmp_path / "out" / "scores.parquet"
    done = commands.run(COMMAND, "score", source, "--model", MODEL, "--output", output)
    assert (done.returncode, done.stdout) == (0, "")
    lines = done.stderr.splitlines()
    assert lines[0] == "fetched 42 rows: 41 samples, 1 rejected"
    assert lines[1].startswith("scoring 41 rows with ")
    assert lines[2].startswith("41 rows (40 distinct, 0 failed): 0 known before, 40 samples")
    kept = tmp_path / "out" / "scores.rejected.parquet"
    assert lines[3] == "1 rows rejected:"
    assert lines[4].startswith("  line 42: ")
    assert lines[5] == f"  whole and with their reasons in {kept}"
    assert "KDE valley" in lines[-1]
    table = pq.read_table(tmp_path / "out" / "scores.parquet").to_pandas()
    assert list(table.columns) == SCORE_SCHEMA.names
    assert table["row"].tolist() == list(range(41))
    assert table["spectral_entropy"].between(0, 1).all()
    assert table.loc[0].drop("row").equals(table.loc[40].drop("row"))  # the repeated row
    rejected = pq.read_table(tmp_path / "out" / "scores.rejected.parquet").to_pylist()
    assert [line["row"] for line in rejected] == [41]
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "scores.parquet", "scores.rejected.parquet"
    ]  # fmt: skip


def test_the_table_says_how_it_was_made(tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "rows.jsonl", rows(3))
    output = tmp_path / "scores.parquet"
    options = ["--mode", "full", "--k", 8, "--dtype", "float32"]
    done = run("score", source, "--model", MODEL, "--output", output, *options)
    assert done.exit_code == 0, done.stderr
    facts = {k.decode(): v.decode() for k, v in pq.read_schema(output).metadata.items()}
    assert facts["gradgate.mode"] == "full"
    assert facts["gradgate.k"] == "8"
    assert facts["gradgate.dtype"] == "float32"
    assert len(facts["gradgate.model_sha256"]) == 64
    assert len(facts["gradgate.dataset_fingerprint"]) == 64


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        (b"", [], "no rows"),
        (b'{"a": 1}\n', [], "columns"),
        (b'{"prompt": "x", "completion": ""}\n', [], "none of the 1 rows"),
        (b'{"text": "hello there"}\n', ["--k", "1"], "greater than or equal to 2"),
        (b'{"text": "hello there"}\n', ["--split", "train"], "split"),
    ],
)
def test_bad_input_is_one_clear_line_and_exit_code_2(
    tmp_path: Path, content: bytes, options: list[str], message: str
) -> None:
    (tmp_path / "rows.jsonl").write_bytes(content)
    output = tmp_path / "out" / "scores.parquet"
    done = run("score", tmp_path / "rows.jsonl", "--model", MODEL, "--output", output, *options)
    assert done.exit_code == 2
    last = done.stderr.splitlines()[-1]
    assert last.startswith("error: ")
    assert message in last
    assert "Traceback" not in done.stderr
    written = list(output.parent.iterdir()) if output.parent.exists() else []
    assert [p.name for p in written] in ([], ["scores.rejected.parquet"])


def test_a_missing_file_and_a_missing_model_are_named(tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "rows.jsonl", rows(3))
    output = tmp_path / "scores.parquet"
    done = run("score", tmp_path / "none.jsonl", "--model", MODEL, "--output", output)
    assert (done.exit_code, "none.jsonl" in done.stderr) == (2, True)
    done = run("score", source, "--model", tmp_path / "none", "--output", output)
    assert (done.exit_code, "no such folder" in done.stderr) == (2, True)
    assert not output.exists()


def test_an_unknown_model_type_is_named(tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "rows.jsonl", rows(3))
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text('{"model_type": "nonsense"}')
    done = run("score", source, "--model", tmp_path / "model", "--output", tmp_path / "s.parquet")
    assert done.exit_code == 2
    assert "nonsense" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_output_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "rows.jsonl", rows(3))
    (tmp_path / "file").write_text("")
    output = tmp_path / "file" / "scores.parquet"
    done = run("score", source, "--model", MODEL, "--output", output)
    assert done.exit_code == 2
    assert "cannot write" in done.stderr


def test_the_input_is_never_written_over(tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "rows.jsonl", rows(3))
    before = source.read_bytes()
    for output in (source, tmp_path):
        done = run("score", source, "--model", MODEL, "--output", output)
        assert done.exit_code == 2, output
    done = run("score", tmp_path, "--model", MODEL, "--output", tmp_path / "scores.parquet")
    assert (done.exit_code, "would be written into the input" in done.stderr) == (2, True)
    assert source.read_bytes() == before
    assert list(tmp_path.iterdir()) == [source]


def test_rejected_rows_are_kept_when_nothing_can_be_scored(tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "rows.jsonl", [{"prompt": "x", "completion": ""}] * 2)
    done = run("score", source, "--model", MODEL, "--output", tmp_path / "out" / "scores.v2")
    assert done.exit_code == 2
    assert "2 x " in done.stderr
    kept = pq.read_table(tmp_path / "out" / "scores.v2.rejected.parquet")
    assert kept.num_rows == 2


def test_no_control_character_of_the_data_reaches_the_terminal(tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "rows.jsonl", [{"\x1b[2J\x07evil": 1}])
    done = run("score", source, "--model", MODEL, "--output", tmp_path / "out" / "s.parquet")
    assert (done.exit_code, "evil" in done.stderr) == (2, True)
    assert not {"\x1b", "\x07"} & set(done.stderr)


def test_rows_that_could_not_be_scored_end_with_1(tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "rows.jsonl", [*rows(5), {"prompt": "~", "completion": "b"}])
    model = model_that_breaks_on("~", tmp_path / "model")
    output = tmp_path / "scores.parquet"
    done = run("score", source, "--model", model, "--output", output, "--no-store")
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr.splitlines()[-1] == (
        f"1 rows could not be scored; `reason` in {output} says why"
    )
    table = pq.read_table(output).to_pylist()
    assert [line["status"] for line in table] == ["scored"] * 5 + ["failed"]
    assert table[-1]["reason"]


def test_rejected_rows_alone_end_with_0(tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "rows.jsonl", [*rows(5), {"prompt": "x", "completion": ""}])
    done = run("score", source, "--model", MODEL, "--output", tmp_path / "scores.parquet")
    assert done.exit_code == 0
    assert "1 rows rejected" in done.stderr
    assert "could not be scored" not in done.stderr


def test_the_file_of_a_gate_serves_too(tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "rows.jsonl", rows(3))
    file, output = tmp_path / "gate.yaml", tmp_path / "scores.parquet"
    sections = f"data: {{source: {source}}}\nmodel: {{path: {MODEL}}}\n"
    file.write_text(sections + "detection: {method: gradsentry}\npolicy: {flagged: block}\n")
    done = run("score", "--config", file, "--output", output)
    assert (done.exit_code, pq.read_table(output).num_rows) == (0, 3)
    file.write_text(sections + "polisy: {flagged: block}\n")
    done = run("score", "--config", file, "--output", output)
    assert done.exit_code == 2
    assert "polisy is unknown" in done.stderr


@pytest.mark.parametrize(
    ("value", "message"), [(float("nan"), "model.norm.weight"), (3e38, "none of the 5 rows")]
)
def test_a_model_without_a_single_number_could_not_run(tmp_path: Path, value, message) -> None:
    """Weights that are NaN are named; weights that are finite may still give no number."""
    model = Path(shutil.copytree(MODEL, tmp_path / "model"))
    weights = load_file(model / "model.safetensors")
    weights["model.norm.weight"] = torch.full_like(weights["model.norm.weight"], value)
    save_file(weights, model / "model.safetensors", {"format": "pt"})
    source = write_jsonl(tmp_path / "rows.jsonl", rows(5))
    output = tmp_path / "scores.parquet"
    done = run("score", source, "--model", model, "--output", output, "--no-store")
    assert done.exit_code == 2
    (error,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert message in error
    assert "NaN" in error
    assert not output.exists()
