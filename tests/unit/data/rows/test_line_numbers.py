"""Rows are found in their file as an editor counts lines, or not at all."""

from pathlib import Path

import pytest

from gradgate.data.rows.line_numbers import line_numbers


@pytest.mark.parametrize(
    ("name", "text", "rows", "lines"),
    [
        ("a.jsonl", "{}\nbad\n{}\n", {1: "bad"}, {1: 2}),
        ("a.jsonl", "\n\n{}\n  \nbad  \r\n{}", {1: "bad", 2: "{}"}, {1: 5, 2: 6}),
        ("a.jsonl", "\ufeffbad\n", {0: "bad"}, {0: 1}),
        ("a.csv", "q,a\n1,2\n\nbad\n", {1: "bad\n"}, {1: 4}),
        ("a.csv", 'q,a\n"1\n1",2\nbad\n', {1: "bad"}, {}),  # the row before it takes two lines
        ("a.json", '[\n {},\n "bad"\n]', {1: '"bad"'}, {}),
        ("a.jsonl", "{}\nother\n", {1: "bad"}, {}),
        ("a.jsonl.gz", "bad\n", {0: "bad"}, {}),
        ("a.parquet", "bad\n", {0: "bad"}, {}),
        ("a.jsonl", "{}\n", {}, {}),
    ],
)
def test_a_row_is_found_where_its_very_content_stands(
    tmp_path: Path, name: str, text: str, rows: dict[int, str], lines: dict[int, int]
) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8", newline="")
    found = line_numbers(tmp_path / name, rows)
    assert found == lines


def test_a_line_that_is_no_text_is_found(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b"{}\n\xff\n")
    assert line_numbers(tmp_path / "a.jsonl", {1: "\\xff"}) == {1: 2}


def test_nothing_is_known_of_a_folder_or_of_what_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "folder.jsonl").mkdir()
    assert line_numbers(tmp_path / "folder.jsonl", {0: "x"}) == {}
    assert line_numbers(tmp_path / "none.jsonl", {0: "x"}) == {}
