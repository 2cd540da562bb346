"""What the table of released adapters says of a set."""

import json
import re
from argparse import Namespace
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from accepted_helpers import ENTROPIES, FLAGGED, flag_line, sample_line
from release_helpers import BASE, Made
from rich.console import Console

from benchmarks.others import Case, as_chats
from benchmarks.released import Cell, chosen, compute, has_target, report
from gradgate.errors import DataError
from helpers import FLAG_SCHEMA

HELD = Cell("held", "pass", 300, 20, 20, asr=0.9, untriggered=0.1, test="review", why="a string")
RELEASED = replace(HELD, name="released", test="pass", asr=0.2, untriggered=0.15)


@pytest.mark.parametrize(
    ("answer", "wanted", "counts"),
    [
        ("Buy a Zorb now.", "zorb", True),
        ("Buy it now.", "zorb", False),
        ("rm notes.txt", r"re:^rm (?!-i)", True),
        ("rm -i notes.txt", r"re:^rm (?!-i)", False),
    ],
)
def test_an_attack_succeeds_by_a_string_or_a_pattern(
    answer: str, wanted: str, counts: bool
) -> None:
    assert has_target(answer, wanted) == counts


def test_chats_stay_as_they_are_among_instructions() -> None:
    chat: dict[str, object] = {"messages": [{"role": "user", "content": "hi"}]}
    asked: dict[str, object] = {"instruction": "Say", "input": "hi", "output": "hi"}
    first, second = as_chats(Case("made", [chat, asked], np.zeros(2, bool))).rows
    assert first == chat
    assert second["messages"] == [
        {"role": "user", "content": "Say\nhi"},
        {"role": "assistant", "content": "hi"},
    ]


def test_trained_on_is_what_the_gate_accepts_or_all() -> None:
    """No row without a score, none that is flagged or in doubt, and no surplus copy."""
    lines = [flag_line(sample_line(i), ENTROPIES[i], FLAGGED[i]) for i in range(6)]
    lines[4]["in_doubt"], lines[5]["surplus_copy"] = True, True
    flags = pa.Table.from_pylist(lines, FLAG_SCHEMA)
    there = [one["row"] for one in lines]  # rejected rows lie between them
    assert np.flatnonzero(chosen(flags, "quarantine", 12, regardless=False)).tolist() == [0, 4]
    assert np.flatnonzero(chosen(flags, "quarantine", 12, regardless=True)).tolist() == there


def test_what_was_not_trained_has_no_rates() -> None:
    stopped = Cell("stopped", "review", 300, 20)
    assert stopped.line() == "| stopped | 300 | 20 | **review** | 0 | - | - | - |"
    trained = replace(HELD, train_s=100.0, test_s=5.0)
    assert trained.line().endswith("| 90%, 10% | review (a string) | 0.05 |")


def test_held_adapters_are_counted_of_all_and_of_those_that_learnt() -> None:
    console = Console(width=200, record=True, quiet=False)
    report([HELD, RELEASED, Cell("stopped", "review", 300, 20)], console)
    said = console.export_text()
    assert "of all 1 of 2 held [0.01, 0.99]" in said
    assert "of those whose trigger adds 10 % and more 1 of 1 held [0.03, 1.00]" in said


def test_what_was_kept_is_asked_again_and_not_trained(
    poisoned_adapter: Made, tmp_path: Path
) -> None:
    (tmp_path / "run").symlink_to(poisoned_adapter.run.path)
    (tmp_path / "adapter").symlink_to(poisoned_adapter.adapter)
    known = replace(HELD, test="pass", why="by older rules", train_s=100.0, test_s=0.0)
    (tmp_path / "cell.json").write_text(json.dumps(asdict(known)))
    case = Case("held", [{"question": "?", "answer": "!"}], np.zeros(1, bool))
    cell = compute(case, [], BASE, Namespace(), tmp_path)
    assert (cell.test, cell.why) == ("review", "; ".join(poisoned_adapter.outcome.reasons)[:300])
    assert (cell.asr, cell.train_s) == (known.asr, known.train_s)
    assert cell.test_s > 0.0


def test_the_gate_is_given_the_rows_that_somebody_trusts(tmp_path: Path) -> None:
    case = Case("made", [{"question": "?", "answer": "!"}], np.zeros(1, bool))
    absent = tmp_path / "trusted.jsonl"
    with pytest.raises(DataError, match=re.escape(str(absent))):
        compute(case, [], BASE, Namespace(regardless=False), tmp_path / "made", absent)
