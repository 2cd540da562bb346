"""Two questions in one run: the tables hold the marks of each and of both."""

from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from method_helpers import Words
from question_helpers import BOTH, LENIENT, POLICY, N, config, judged, rows

from gradgate.common.run_folder import (
    FLAG_FIELDS,
    FLAGGED_SCHEMA,
    QUARANTINED_SCHEMA,
    RunFolder,
    question_fields,
)
from gradgate.data.prepare import Prepared
from gradgate.errors import DataError, MethodError
from gradgate.gate.accounts import ACCOUNTS, read_accounts, settle_rows
from gradgate.gate.findings import Scored
from gradgate.gate.flag_table import Marked, count_marked
from gradgate.gate.flags import top_flagged
from gradgate.gate.pipeline import STEPS, Detected, judge
from gradgate.gate.row_files import Line, RowKind
from gradgate.methods import registry
from gradgate.methods.contract import Question
from helpers import scored_rows

pytestmark = pytest.mark.usefixtures("words")


def test_the_table_has_what_each_says_and_what_all_say(tmp_path: Path) -> None:
    data = rows(harmful=[7, 8, 9], doubted=[20, 30])
    judged(tmp_path, config(), data, poisoned=[8, 30])
    run = RunFolder(tmp_path)
    table = pq.read_table(run.flags)
    names = [field.name for field in (*FLAG_FIELDS, *question_fields(BOTH))]
    assert table.schema.names[-len(names) :] == names
    assert [name for name in names if name.startswith("poisoned_")] == [
        "poisoned_flagged", "poisoned_in_doubt", "poisoned_reasons",
    ]  # fmt: skip
    assert table.schema.metadata[b"gradgate.method"] == b"gradsentry, words"
    frame = table.to_pandas()

    def where(column: str) -> list[int]:
        return [int(i) for i in np.flatnonzero(frame[column])]

    assert where("poisoned_flagged") == [8, 30]
    assert where("harmful_flagged") == [7, 8, 9]
    assert where("flagged") == [7, 8, 9, 30]
    assert where("harmful_in_doubt") == [20, 30]
    assert where("in_doubt") == [20]  # 30 is flagged, by the other method
    assert frame["suspicion"].equals(frame["spectral_entropy"])
    assert frame["harmful_suspicion"].equals(pa.array(np.linspace(0, 1, N)).to_pandas())
    assert (frame["word_length"] == 6.0).all()
    assert list(frame["reasons"][8]) == [
        "spectral entropy 0.9000 is above tau 0.7000", "says the word",
    ]  # fmt: skip
    assert list(frame["harmful_reasons"][8]) == ["says the word"]
    assert list(frame["poisoned_reasons"][7]) == []
    assert np.flatnonzero(frame["harmful_group"] == 1).tolist() == [7, 8, 9]
    assert frame["group"].isna().all()
    assert count_marked(run, BOTH) == {"poisoned": Marked(2, 0), "harmful": Marked(3, 2)}


def test_the_accounts_name_first_the_group_that_a_page_shows_a_row_with(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    data = rows(harmful=[7, 8], doubted=[20])
    verdict = judged(folder, config(), data, poisoned=[8, 30])
    run, prepared = RunFolder(folder), Prepared.load(folder)
    table = pq.read_table(run.flags)
    groups = pa.array([5 if row in (7, 20, 30, 40) else None for row in range(N)], pa.int32())
    at = table.schema.get_field_index("group")  # of the question of poison, which comes first
    pq.write_table(table.set_column(at, table.schema.field(at), groups), run.flags)
    settle_rows(run, prepared, verdict, RowKind(), (Line("{}") for _ in range(N)))
    found = {one.row: (one.why, one.groups) for one in read_accounts(run.rows / ACCOUNTS)}
    assert found[7] == ("flagged", ["harmful:1", "poisoned:5"])
    assert found[8] == ("flagged", [])  # as poisoned, without a group
    assert found[20] == ("in doubt", [])  # as harmful, without a group
    assert found[30] == ("flagged", ["poisoned:5"])
    assert found[40][1] == ["poisoned:5"]


def test_the_listings_say_by_which_question(tmp_path: Path) -> None:
    data = rows(harmful=[7, 8], doubted=[20])
    data[40] = data[41] = data[42] = data[43] = data[44]
    judged(tmp_path, config(), data, poisoned=[8, 30])
    run = RunFolder(tmp_path)
    assert pq.read_schema(run.flagged).equals(FLAGGED_SCHEMA)
    assert pq.read_schema(run.quarantined).equals(QUARANTINED_SCHEMA)
    flagged = {line["row"]: line for line in pq.read_table(run.flagged).to_pylist()}
    by = {row: line["questions"] for row, line in flagged.items()}
    assert by == {7: ["harmful"], 8: ["poisoned", "harmful"], 30: ["poisoned"]}
    assert (flagged[7]["group"], flagged[8]["group"]) == (1, None)
    assert flagged[7]["suspicion"] == pytest.approx(7 / 99)
    assert flagged[8]["suspicion"] == 0.9
    out = [(x["row"], x["why"], x["questions"]) for x in pq.read_table(run.quarantined).to_pylist()]
    assert out == [
        (20, "in doubt", ["harmful"]), (43, "copy", ["poisoned"]), (44, "copy", ["poisoned"]),
    ]  # fmt: skip
    assert [line["row"] for line in top_flagged(run, 9)] == [8, 7, 30]  # they take turns


def test_rows_without_a_score_are_marked_by_neither(tmp_path: Path) -> None:
    verdict = judged(tmp_path, config(), rows(harmful=[4, 5]), failed=[5])
    assert verdict.decision == "error"
    assert [answer.n_flagged for answer in verdict.answers] == [0, 1]
    frame = pq.read_table(RunFolder(tmp_path).flags).to_pandas()
    for column in ("flagged", "in_doubt", "poisoned_flagged", "harmful_flagged"):
        assert frame[column].isna().tolist() == [i == 5 for i in range(N)], column


# The tables are those that were judged


def exchanged(table: pa.Table, column: str, values: dict[int, bool]) -> pa.Table:
    marks = table[column].to_pylist()
    for i, value in values.items():
        marks[i] = value
    at = table.schema.get_field_index(column)
    return table.set_column(at, table.schema.field(at), pa.array(marks, pa.bool_()))


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"harmful_flagged": {7: False}}, "marks other rows than it does for poisoned and harmful"),
        ({"flagged": {7: False}}, "marks other rows"),
        ({"in_doubt": {20: False}}, "marks other rows"),
        (
            {"harmful_flagged": {7: False}, "flagged": {7: False}},
            r"2 flagged rows \(harmful\), and there were 3",
        ),
        (
            {"poisoned_flagged": {0: True}, "flagged": {0: True}},
            r"2 flagged rows \(poisoned\), and there were 1",
        ),
        (
            {"harmful_in_doubt": {20: False}, "in_doubt": {20: False}},
            r"0 rows in doubt \(harmful\), and there were 1",
        ),
        ({"surplus_copy": {50: True}}, "1 surplus copies, and there were 0"),
    ],
)
def test_marks_of_either_question_that_changed_are_an_error(
    tmp_path: Path, changes: dict[str, dict[int, bool]], why: str
) -> None:
    entropies = [0.1] * N
    entropies[30] = 0.9
    prepared = scored_rows(tmp_path, rows(harmful=[7, 8, 9], doubted=[20]), entropies)
    run, settings = RunFolder(tmp_path), config(policy={**POLICY, **LENIENT})

    def detect(*given: Any) -> Detected:
        detected = STEPS.detect(*given)
        table = pq.read_table(run.flags)
        for column, values in changes.items():
            table = exchanged(table, column, values)
        pq.write_table(table, run.flags)
        return detected

    with pytest.raises(DataError, match=why):
        judge(prepared, Scored(N, {}), settings, run, replace(STEPS, detect=detect))


class SameSignal(Words):
    """Puts a signal into the table that another method has as well."""

    name: ClassVar[str] = "same_signal"
    question: ClassVar[Question] = "poisoned"


def test_two_signals_of_one_name_break_the_contract(tmp_path: Path) -> None:
    registry.register_method(SameSignal)
    with pytest.raises(MethodError, match="words has a signal word_length as well"):
        judged(tmp_path, config(["words", "same_signal"]), rows())
