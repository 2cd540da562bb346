"""`gradgate draw` as a user types it."""

import json
from pathlib import Path

import pytest
from cli_helpers import Done, gradgate

from gradgate.config import DataConfig
from gradgate.config.drawing import DrawConfig, DrawSection
from gradgate.data.drawing import draw
from helpers import question_rows, write_jsonl

HOSTILE = "<script>alert(1)</script> http://evil.example/x"


def drawn(source: object, output: Path, *arguments: object) -> Done:
    return gradgate("draw", source, "--output", output, *arguments)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_jsonl(tmp_path / "rows.jsonl", question_rows(200))


def read(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def test_rows_keep_their_columns_and_their_order(source: Path, tmp_path: Path) -> None:
    output, page = tmp_path / "new" / "trusted.jsonl", tmp_path / "new" / "trusted.html"
    result = drawn(source, output, "--rows", 80, "--seed", 3, "--page", page)

    assert result.exit_code == 0
    assert result.stdout == (
        f"80 samples drawn from 200 rows with seed 3: {output}\n"
        f"look at each in {page}, delete the lines that you do not trust, and then: "
        f"gradgate detect ... --reference {output}\n"
    )
    rows, all_rows = read(output), read(source)
    places = [all_rows.index(row) for row in rows]
    assert places == sorted(set(places))
    assert len(places) == 80
    shown = page.read_text("utf-8")
    assert shown.count('<article class="sample">') == 80
    assert f"row {places[-1]} of the source" in shown
    assert sorted(path.name for path in output.parent.iterdir()) == [page.name, output.name]


def test_the_file_of_a_gate_says_how_rows_are_read(tmp_path: Path) -> None:
    rows = [{"ask": f"{i} + {i}?", "say": f"{2 * i}"} for i in range(80)]
    source = write_jsonl(tmp_path / "rows.jsonl", rows)
    gate = tmp_path / "gate.yaml"
    gate.write_text(
        f"data: {{source: {source}, columns: {{prompt: ask, completion: say}}}}\n"
        "model: {path: not/there}\npolicy: {max_poison_fraction: 0.1}\n"
    )
    output = tmp_path / "trusted.jsonl"
    result = gradgate("draw", "--config", gate, "--rows", 70, "--output", output)
    assert (result.exit_code, result.stderr) == (0, "")
    assert len(read(output)) == 70
    assert all(row in rows for row in read(output))


def test_the_same_seed_draws_the_same_and_another_does_not(source: Path, tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        assert drawn(source, tmp_path / f"{name}.jsonl", "--seed", seed).exit_code == 0
    a, b, c = ((tmp_path / f"{name}.jsonl").read_bytes() for name in "abc")
    assert a == b != c


def test_each_sample_is_as_likely_however_often_it_stands_there(tmp_path: Path) -> None:
    rows = question_rows(40)
    source = write_jsonl(tmp_path / "copies.jsonl", [*rows, *rows[:1] * 400])
    counts = dict.fromkeys(range(40), 0)
    for seed in range(200):
        found = draw(_config(source, 10, seed))
        assert (len(found.rows), found.n_rows, found.n_unusable) == (10, 440, 0)
        for raw, _ in found.rows:
            counts[raw.row] += 1  # the first of copies, and none twice
    assert sum(counts.values()) == 2_000
    assert min(counts.values()) > 25  # of 50; one of 2,700 such tests has so few
    assert max(counts.values()) < 80


def test_what_is_no_sample_is_not_drawn_but_counted(source: Path, tmp_path: Path) -> None:
    with source.open("a", encoding="utf-8") as file:
        file.write('{"question": "and no answer?"}\n{"broken\n')
    result = drawn(source, tmp_path / "few.jsonl", "--rows", 300)
    assert "200 samples drawn from 202 rows, 2 of which are no samples" in result.stdout
    assert read(tmp_path / "few.jsonl") == question_rows(200)


def test_too_few_for_a_training_are_said_to_be(source: Path, tmp_path: Path) -> None:
    result = drawn(source, tmp_path / "few.jsonl", "--rows", 63)
    assert "a training on a reference needs 64 samples" in result.stdout
    enough = drawn(source, tmp_path / "enough.jsonl", "--rows", 64)
    assert "needs" not in enough.stdout


def test_what_no_text_can_hold_is_drawn_as_it_was(tmp_path: Path) -> None:
    source = tmp_path / "rows.jsonl"
    row = '{"prompt": "whole", "completion": "yes", "note": "half \\ud83d"}\n'
    source.write_text(row, encoding="utf-8")
    assert drawn(source, tmp_path / "t.jsonl").exit_code == 0
    assert read(tmp_path / "t.jsonl") == read(source)


def test_a_page_shows_hostile_text_as_text(tmp_path: Path) -> None:
    source = write_jsonl(
        tmp_path / "rows.jsonl", [{"prompt": HOSTILE, "completion": f"\u202e{HOSTILE}"}]
    )
    page = tmp_path / "page.html"
    assert drawn(source, tmp_path / "t.jsonl", "--page", page).exit_code == 0
    shown = page.read_text("utf-8")
    assert "<script" not in shown
    assert "http://evil" not in shown
    assert "\u202e" not in shown
    assert "hxxp://evil[.]example/x" in shown
    assert "default-src 'none'" in shown


def test_a_file_that_somebody_has_looked_at_is_not_overwritten(
    source: Path, tmp_path: Path
) -> None:
    output = tmp_path / "trusted.jsonl"
    output.write_text("looked at\n", encoding="utf-8")
    result = drawn(source, output)
    assert result.exit_code == 2
    assert "somebody may have looked at it; name another file" in result.stderr
    assert output.read_text("utf-8") == "looked at\n"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('{"question": "?", "answers": 1}\n', "none of the 1 rows"),
        ('{"question": "?"}\n', "no row format fits"),
        ('{"broken\n', "none of the 1 rows"),
        ("", "has no rows"),
    ],
)
def test_nothing_to_draw_from_is_an_error(content: str, said: str, tmp_path: Path) -> None:
    source = tmp_path / "rows.jsonl"
    source.write_text(content, encoding="utf-8")
    result = drawn(source, tmp_path / "trusted.jsonl")
    assert result.exit_code == 2
    assert said in result.stderr
    assert not (tmp_path / "trusted.jsonl").exists()


def test_the_source_itself_and_a_page_that_is_none_are_refused(
    source: Path, tmp_path: Path
) -> None:
    assert drawn(source, source).exit_code == 2
    assert len(read(source)) == 200
    result = drawn(source, tmp_path / "trusted.jsonl", "--page", tmp_path / "page.pdf")
    assert result.exit_code == 2
    assert "name it page.html" in result.stderr
    result = drawn(source, tmp_path / "both", "--page", tmp_path / "both")
    assert result.exit_code == 2
    assert "cannot both be" in result.stderr
    assert not (tmp_path / "both").exists()


def _config(source: Path, rows: int, seed: int) -> DrawConfig:
    data = DataConfig(source=str(source), max_rejected_fraction=1.0)
    return DrawConfig(draw=DrawSection(rows=rows, seed=seed), data=data)
