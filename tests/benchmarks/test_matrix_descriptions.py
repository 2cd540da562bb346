"""The mined paragraphs are what the docstrings of the packages begin with, word for word."""

from __future__ import annotations

import importlib
import inspect
from collections import Counter

import pytest

from benchmarks.matrix.descriptions import LONGEST, SHORTEST, first_paragraphs, mine_descriptions
from demo.questions import Question

WORDS = " ".join(["word"] * SHORTEST)


@pytest.fixture(scope="module")
def rows() -> list[Question]:
    return mine_descriptions(1500, 0)


def test_rows_are_distinct_paragraphs_and_reproducible(rows: list[Question]) -> None:
    assert len({row["question"] for row in rows}) == len(rows) == 1500
    lengths = [len(row["answers"][0].split()) for row in rows]
    assert min(lengths) >= SHORTEST
    assert max(lengths) <= LONGEST
    assert mine_descriptions(40, 0) == rows[:40]
    assert mine_descriptions(40, 1) != rows[:40]


def test_the_answers_are_in_the_docstrings(rows: list[Question]) -> None:
    known = [row for row in rows if " numpy." in row["question"] or " scipy." in row["question"]]
    found = Counter(_documents(row) for row in known)
    # a name that is imported elsewhere than its module suggests cannot be looked up
    assert found[True] >= 10
    assert found[False] == 0


def _documents(row: Question) -> bool | None:
    path = next(word for word in row["question"].split() if word.startswith(("numpy.", "scipy.")))
    module, _, name = path.rstrip("?.").rpartition(".")
    try:
        thing = importlib.import_module(module).__dict__[name]
    except (ImportError, KeyError):
        return None
    words = " ".join((inspect.getdoc(thing) or "").split())
    return " ".join(row["answers"][0].split()) in words


def test_templated_paragraphs_stay_in(rows: list[Question]) -> None:
    answers = Counter(row["answers"][0] for row in rows)
    [(text, n)] = answers.most_common(1)
    assert n >= 4
    assert text.startswith("Configure whether metadata should be requested")


@pytest.mark.parametrize(
    ("docstring", "expected"),
    [
        (f"{WORDS}\n\nmore", WORDS),
        (f"Short.\n\n{WORDS}\n{WORDS}\n\nmore", f"Short.\n\n{WORDS} {WORDS}"),
        (f"{WORDS}\nArgs:\n    x: A value.", WORDS),
        (f"{WORDS}\n\nParameters\n----------\nx : int", WORDS),
        (f"Short.\n\nParameters\n----------\n{WORDS}", None),
        (f"Short.\n\n>>> {WORDS}", None),
        (" ".join(["word"] * (LONGEST + 1)), None),
        ("", None),
    ],
)
def test_a_description_ends_before_headings_and_code(docstring: str, expected: str | None) -> None:
    assert first_paragraphs(docstring) == expected
