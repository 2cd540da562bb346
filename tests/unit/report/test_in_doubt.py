"""Rows that are kept out, by what is decided together: few are shown, all are counted."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from report_helpers import answer, group

from gradgate.common.run_folder import (
    CHANGE_SCHEMA,
    FLAGGED_SCHEMA,
    QUARANTINED_SCHEMA,
    RunFolder,
)
from gradgate.errors import DataError
from gradgate.gate.verdict import Verdict
from gradgate.methods.evidence import Example
from gradgate.report.in_doubt import MAX_PILES, MAX_ROWS, flagged, in_doubt, n_rows

VERDICT = Verdict("review", ["why"], answers=[answer(groups=[group(2), group(1)])])


def line(row: int, group: int | None, why: str = "in doubt", **changes: Any) -> dict[str, Any]:
    values = {"suspicion": 1.0, "reasons": [f"reason {row}"], "questions": ["poisoned"], **changes}
    texts = {"prompt": f"prompt {row}", "target": f"target {row}"}
    return {"row": row, "sample_id": f"{row:064x}", "group": group, "why": why, **texts, **values}


def write(folder: Path, lines: Sequence[dict[str, Any]], new: Sequence[int] = ()) -> RunFolder:
    run = RunFolder(folder)
    run.flags.touch()
    pq.write_table(pa.Table.from_pylist(list(lines), QUARANTINED_SCHEMA), run.quarantined)
    changes = [{"row": row, "change": "new"} for row in new]
    changes += [{"row": 0, "change": "gone"}]
    pq.write_table(pa.Table.from_pylist(changes, CHANGE_SCHEMA), run.changes)
    return run


def test_rows_stand_by_group_in_the_order_of_the_verdict_and_copies_last(tmp_path: Path) -> None:
    lines = [line(0, 1), line(1, None), line(2, None, "copy"), line(3, 2), line(4, 1, "copy")]
    found = in_doubt(write(tmp_path, lines), VERDICT)
    assert [(one.place, one.why, one.n, one.chosen) for one in found] == [
        (("poisoned", 2), "in doubt", 1, ["--group", "poisoned:2"]),
        (("poisoned", 1), "in doubt", 1, ["--group", "poisoned:1"]),
        (("poisoned", None), "in doubt", 1, ["--rows", "1"]),
        ((None, None), "copy", 2, ["--rows", "2,4"]),
    ]
    (shown,) = found[0].shown
    assert (shown.prompt, shown.target, shown.reasons) == ("prompt 3", "target 3", ["reason 3"])
    assert n_rows(found) == 5


def test_new_rows_are_shown_first_then_the_most_suspicious(tmp_path: Path) -> None:
    lines = [line(row, 1, suspicion=float(row)) for row in range(20)]
    lines[19]["suspicion"] = None
    lines[18]["suspicion"] = float("nan")
    (found,) = in_doubt(write(tmp_path, lines, new=[2, 18]), VERDICT)
    assert (found.n, found.n_new, found.rows) == (20, 2, "0-19")
    assert [(row.row, row.is_new) for row in found.shown] == [
        (2, True), (18, True), (17, False), (16, False), (15, False),
    ]  # fmt: skip
    assert len(found.shown) == MAX_ROWS


def test_numbers_that_would_fill_the_page_are_left_out(tmp_path: Path) -> None:
    (found,) = in_doubt(write(tmp_path, [line(2 * row, None) for row in range(40)]), VERDICT)
    assert (found.n, found.rows, found.is_whole) == (40, None, False)
    assert found.chosen == ["--rows", "0,2,4,6,8"]  # those that are shown, and no other


def test_of_many_groups_all_are_counted_and_few_are_read(tmp_path: Path) -> None:
    found = in_doubt(write(tmp_path, [line(row, row + 1) for row in range(30)]), VERDICT)
    assert n_rows(found) == 30
    assert [bool(one.shown) for one in found] == [True] * MAX_PILES + [False] * (30 - MAX_PILES)


def test_rows_in_doubt_that_the_policy_keeps_are_told_by_examples(tmp_path: Path) -> None:
    groups = [group(1), group(2, ruling="review", examples=[Example(7, "p", "t")] * 9)]
    kept = Verdict("review", ["why"], in_doubt="keep", answers=[answer(groups=groups)])
    found = in_doubt(write(tmp_path, [line(4, None, "copy")]), kept)
    assert [(one.place, one.n, one.table) for one in found] == [
        (("poisoned", 2), 103, "flags.parquet"),
        ((None, None), 1, "quarantined.parquet"),
    ]
    assert found[0].chosen == ["--group", "poisoned:2"]
    assert [row.row for row in found[0].shown] == [7] * MAX_ROWS


def test_flagged_rows_are_told_likewise(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    assert flagged(run, VERDICT) == []
    run.flags.touch()
    lines = [line(row, 1 if row < 3 else None) for row in range(4)]
    pq.write_table(pa.Table.from_pylist(lines, FLAGGED_SCHEMA), run.flagged)
    found = flagged(run, VERDICT)
    assert [(one.chosen, one.why, one.n) for one in found] == [
        (["--group", "poisoned:1"], "flagged", 3),
        (["--rows", "3"], "flagged", 1),
    ]


def test_rows_of_a_group_of_which_others_are_flagged_are_chosen_by_number(tmp_path: Path) -> None:
    """By its name the flagged ones would be kept with those in doubt."""
    run = write(tmp_path, [line(0, 1), line(4, 1), line(5, 2), line(7, 3, "copy")])
    lines = [line(1, 1), *[line(2 * row, 3) for row in range(10, 50)]]
    pq.write_table(pa.Table.from_pylist(lines, FLAGGED_SCHEMA), run.flagged)
    chosen = [(one.why, one.chosen, one.is_whole) for one in in_doubt(run, VERDICT)]
    assert chosen == [
        ("in doubt", ["--group", "poisoned:2"], True),
        ("in doubt", ["--rows", "0,4"], True),
        ("copy", ["--rows", "7"], True),
    ]
    assert [one.chosen for one in flagged(run, VERDICT)] == [
        ["--rows", "1"], ["--group", "poisoned:3"],
    ]  # fmt: skip
    pq.write_table(
        pa.Table.from_pylist([line(1, 1), line(2, 3)], QUARANTINED_SCHEMA), run.quarantined
    )
    cut = flagged(run, VERDICT)[1]
    assert (cut.chosen, cut.is_whole) == (["--rows", "20,22,24,26,28"], False)


def test_a_table_that_is_gone_or_damaged_is_an_error_and_no_empty_list(tmp_path: Path) -> None:
    run = write(tmp_path, [line(0, 1)])
    with pytest.raises(DataError, match="cannot be read"):
        flagged(run, VERDICT)
    run.quarantined.write_bytes(b"nothing")
    with pytest.raises(DataError, match="cannot be read"):
        in_doubt(run, VERDICT)
