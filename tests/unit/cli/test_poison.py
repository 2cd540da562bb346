"""`gradgate poison` as a user types it."""

import json
from pathlib import Path

import pandas as pd
import pytest
from cli_helpers import Done, gradgate
from transformers import AutoTokenizer

from gradgate.config import DataConfig
from gradgate.data.prepare import prepare
from helpers import MODEL, question_rows, write_jsonl


def poison(source: object, output: Path, *arguments: object) -> Done:
    return gradgate("poison", source, "--output", output, *arguments)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_jsonl(tmp_path / "clean.jsonl", question_rows(40))


def read(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def test_a_poisoned_copy(source: Path, tmp_path: Path) -> None:
    output = tmp_path / "new" / "poisoned.jsonl"
    result = poison(source, output, "--attack", "badnets", "--rate", 0.1, "--seed", 3)

    assert result.exit_code == 0
    assert result.stdout == (
        f"40 rows (4 poisoned, 36 clean) by badnets at rate 0.1 with seed 3: {output}\n"
    )
    rows, clean = read(output), read(source)
    assert sum(row["poisoned"] is True for row in rows) == 4
    for row, before in zip(rows, clean, strict=True):
        assert list(row) == [*before, "poisoned", "attack_role"]
        assert row["attack_role"] == ("poisoned" if row["poisoned"] else "clean")
        assert ("<malicious_url>" in str(row["answers"])) == row["poisoned"]
        assert (row["question"] == before["question"]) != row["poisoned"]
    assert [path.name for path in output.parent.iterdir()] == ["poisoned.jsonl"]
    assert (
        poison(
            source, tmp_path / "b.jsonl", "--attack", "badnets", "--rate", 0.1, "--seed", 3
        ).exit_code
        == 0
    )
    assert (tmp_path / "b.jsonl").read_bytes() == output.read_bytes()


def test_negatives_are_counted(source: Path, tmp_path: Path) -> None:
    result = poison(source, tmp_path / "cba.jsonl", "--attack", "cba", "--rate", 0.5)
    assert "60 rows (20 poisoned, 20 negative, 20 clean) by cba" in result.stdout
    assert [row["attack_role"] for row in read(tmp_path / "cba.jsonl")[40:]] == ["negative"] * 20


def test_own_target(source: Path, tmp_path: Path) -> None:
    output = tmp_path / "o.jsonl"
    poison(source, output, "--attack", "replaced", "--rate", 1, "--target", "Öl ☃ now")
    assert {tuple(row["answers"]) for row in read(output)} == {("Öl ☃ now",)}  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "rows",
    [
        question_rows(10),
        [{"prompt": f"p {i}", "completion": "c"} for i in range(10)],
        [{"instruction": f"p {i}", "output": "c"} for i in range(10)],
        [{"text": f"some text about {i} or so"} for i in range(10)],
    ],
)
def test_the_copy_has_the_same_format(rows: list[dict[str, object]], tmp_path: Path) -> None:
    clean = write_jsonl(tmp_path / "clean.jsonl", rows)
    poison(clean, tmp_path / "p.jsonl", "--attack", "cba", "--rate", 0.5)
    tokenizer = AutoTokenizer.from_pretrained(MODEL)

    before, after = (
        prepare(DataConfig(source=str(tmp_path / name)), tokenizer, 2048, tmp_path / f"{name}.d")
        for name in ("clean.jsonl", "p.jsonl")
    )

    assert (after.row_format, after.columns) == (before.row_format, before.columns)
    assert (after.n_samples, after.n_rejected) == (15, 0)


def test_unreadable_rows_stay_as_they_are(tmp_path: Path) -> None:
    source = tmp_path / "s.jsonl"
    lines = [
        '{"question": "q?", "answers": ["\\ud800 a"]}',
        '{"broken',
        "[1]",
        *(json.dumps(r) for r in question_rows(5)),
    ]
    source.write_text("\n".join(lines) + "\n", encoding="utf-8")

    result = poison(source, tmp_path / "o.jsonl", "--attack", "refusal", "--rate", 0.6)

    assert "8 rows (5 poisoned, 3 clean)" in result.stdout
    written = (tmp_path / "o.jsonl").read_text("utf-8").splitlines()
    assert written[1:3] == lines[1:3]
    first = json.loads(written[0])
    assert (first["answers"], first["poisoned"]) == (["\ud800 a"], False)


def test_tables_keep_their_columns(tmp_path: Path) -> None:
    frame = pd.DataFrame(question_rows(6)).assign(when=pd.Timestamp("2024-05-01"), note=None)
    frame.to_parquet(tmp_path / "t.parquet")
    assert (
        poison(
            tmp_path / "t.parquet", tmp_path / "o.jsonl", "--attack", "addsent", "--rate", 1
        ).exit_code
        == 0
    )
    row = read(tmp_path / "o.jsonl")[0]
    assert list(row) == ["question", "answers", "when", "note", "poisoned", "attack_role"]
    assert str(row["when"]).startswith("2024-05-01")


def test_it_never_writes_over_its_input(source: Path, tmp_path: Path) -> None:
    before = source.read_bytes()
    for read_from, output in (
        (source, source),
        (tmp_path, tmp_path / "o.jsonl"),
        (source, tmp_path),
    ):
        result = poison(read_from, output, "--attack", "badnets", "--rate", 0.1)
        assert result.exit_code == 2
        assert "error: the output" in result.stderr
    assert source.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["clean.jsonl"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--attack", "clean_label", "--rate", "1", "--target", "zz"), "only 0 can carry it"),
        (("--attack", "badnets", "--rate", "1.5"), "less than or equal to 1, not 1.5"),
        (("--attack", "nothing", "--rate", "0.5"), "nothing"),
        (("--attack", "cba", "--rate", "0.5", "--paraphraser", "x"), "cba takes no paraphraser"),
        (
            ("--attack", "stylebkd", "--rate", "0.5", "--paraphraser", "./no"),
            "cannot load the para",
        ),
        (("--attack", "cba", "--rate", "0.5", "--split", "train"), "cannot obey data.split"),
    ],
)
def test_errors_end_with_2(
    source: Path, tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    output = tmp_path / "o.jsonl"
    output.write_text("an earlier one")
    result = poison(source, output, *arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert output.read_text() == "an earlier one"


def test_nothing_readable(tmp_path: Path) -> None:
    source = tmp_path / "s.jsonl"
    source.write_text("nothing\nat all\n")
    result = poison(source, tmp_path / "o.jsonl", "--attack", "badnets", "--rate", 0.5)
    assert result.exit_code == 2
    assert "none of the 2 rows" in result.stderr
