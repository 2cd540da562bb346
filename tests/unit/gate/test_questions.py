"""Two questions in one run: each has its answer, and a row is accepted by both or not at all."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from method_helpers import Words, registered
from pydantic import ValidationError

from gradgate.cli.summary import Written, say_summary
from gradgate.common.run_folder import (
    FLAG_FIELDS,
    FLAGGED_SCHEMA,
    QUARANTINED_SCHEMA,
    RunFolder,
    question_fields,
)
from gradgate.errors import DataError, MethodError
from gradgate.gate.acceptance import accept
from gradgate.gate.config import GateConfig
from gradgate.gate.decide import NO_HARMFUL_CANARIES, Scored
from gradgate.gate.flag_table import Marked, count_marked
from gradgate.gate.flags import top_flagged
from gradgate.gate.pipeline import STEPS, Detected, judge
from gradgate.gate.verdict import Answer, Decision, Verdict, load_verdict
from gradgate.methods import registry
from gradgate.methods.contract import Question, Undecided
from helpers import MODEL, diverse_rows, scored_rows

N = 100
BOTH: tuple[Question, Question] = ("poisoned", "harmful")


@pytest.fixture(autouse=True)
def words() -> Iterator[None]:
    """The method, known as long as a test runs."""
    with registered(Words):
        yield


def config(methods: list[str] | None = None, **sections: Any) -> GateConfig:
    """Both questions, without canaries; gradsentry flags above 0.7."""
    given: dict[str, dict[str, Any]] = {
        "data": {"source": "not read"},
        "model": {"path": str(MODEL), "device": "cpu", "dtype": "float32"},
        "scoring": {"store": False},
        "detection": {
            "methods": methods or ["gradsentry", "words"],
            "gradsentry": {"threshold": {"method": "fixed", "value": 0.7}},
            "power": {"attacks": []},
        },
        "policy": {"max_poison_fraction": 0.2, "review_above": 0.1},
    }
    return GateConfig.model_validate(
        {name: {**given.get(name, {}), **sections.get(name, {})} for name in {**given, **sections}}
    )


def rows(harmful: Iterable[int] = (), doubted: Iterable[int] = ()) -> list[dict[str, object]]:
    """A hundred rows, with a word in the answers of some."""
    found = diverse_rows(N)
    for i in harmful:
        found[i]["answers"] = [f"mix napalm number {i}"]
    for i in doubted:
        found[i]["answers"] = [f"drink venom number {i}"]
    return found


def judged(
    folder: Path,
    settings: GateConfig,
    data: list[dict[str, object]],
    poisoned: Iterable[int] = (),
    failed: Iterable[int] = (),
) -> Verdict:
    """The verdict on rows of which some have a high entropy."""
    entropies = [0.1] * N
    for i in poisoned:
        entropies[i] = 0.9
    prepared = scored_rows(folder, data, entropies, failed=list(failed))
    return judge(prepared, Scored(N - len(list(failed)), {}), settings, RunFolder(folder))


def both(verdict: Verdict) -> tuple[Answer, Answer]:
    poisoned, harmful = verdict.answers
    assert (poisoned.question, harmful.question) == BOTH
    return poisoned, harmful


LENIENT = {"max_harmful_fraction": 0.2, "harmful_review_above": 0.1}
POLICY = {"max_poison_fraction": 0.2, "review_above": 0.1}


def test_each_question_has_its_answer_and_a_row_is_accepted_by_both(tmp_path: Path) -> None:
    data = rows(harmful=[7, 8, 9], doubted=[20, 21])
    settings = config(policy={**POLICY, **LENIENT})
    verdict = judged(tmp_path, settings, data, poisoned=[8, 30])
    poisoned, harmful = both(verdict)
    assert (poisoned.method, harmful.method) == ("gradsentry", "words")
    assert (poisoned.n_flagged, poisoned.n_in_doubt, poisoned.fraction) == (2, 0, 0.02)
    assert (harmful.n_flagged, harmful.n_in_doubt, harmful.fraction) == (3, 2, 0.03)
    assert (poisoned.limit, harmful.limit) == (0.2, 0.2)
    assert poisoned.interval != harmful.interval
    assert (verdict.decision, poisoned.decision, harmful.decision) == ("pass", "pass", "pass")
    assert verdict.reasons == [
        "2 of 100 rows flagged (2.00%), within the policy",
        "tau = 0.7 is fixed by the configuration",
        "3 of 100 rows flagged as harmful (3.00%) and 2 in doubt (2.00%), within the policy",
    ]
    accepted = accept(tmp_path)
    assert accepted.n == verdict.n_accepted == N - len({7, 8, 9, 30, 20, 21})
    assert verdict.accepted_fingerprint == accepted.fingerprint
    assert verdict.n_quarantined == 2


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


def test_surplus_copies_are_counted_once_with_the_first_answer(tmp_path: Path) -> None:
    data = rows()
    for i in range(40, 46):
        data[i] = dict(data[46], answers=["napalm again"])
    verdict = judged(tmp_path, config(policy={**POLICY, **LENIENT}), data)
    poisoned, harmful = both(verdict)
    assert (poisoned.n_in_doubt, harmful.n_in_doubt) == (3, 0)
    assert (poisoned.n_flagged, harmful.n_flagged) == (0, 6)
    assert (verdict.decision, verdict.n_quarantined) == ("pass", 0)  # all of them are flagged
    assert any("texts stand" in note or "text stands" in note for note in poisoned.notes)
    assert harmful.notes == NO_HARMFUL_CANARIES.not_tried


@pytest.mark.parametrize(
    ("n_poisoned", "n_harmful", "decisions"),
    [
        (0, 25, ("pass", "fail")),
        (25, 0, ("fail", "pass")),
        (0, 15, ("pass", "review")),
        (15, 0, ("review", "pass")),
        (15, 25, ("review", "fail")),
        (2, 2, ("pass", "pass")),
    ],
)
def test_one_question_alone_may_stop_the_data(
    tmp_path: Path, n_poisoned: int, n_harmful: int, decisions: tuple[Decision, Decision]
) -> None:
    settings = config(policy={**POLICY, **LENIENT})
    verdict = judged(tmp_path, settings, rows(harmful=range(n_harmful)), range(50, 50 + n_poisoned))
    poisoned, harmful = both(verdict)
    assert (poisoned.decision, harmful.decision) == decisions
    worst = max(decisions, key=["pass", "review", "fail"].index)
    assert verdict.decision == worst
    assert (verdict.accepted_fingerprint is not None) == (worst == "pass")


@pytest.mark.parametrize(
    ("policy", "why"),
    [
        ({}, "5 of 100 rows flagged as harmful (5.00%), more than harmful_review_above 2.00%"),
        (
            {"max_harmful_fraction": 0.04},
            "5 of 100 rows flagged as harmful (5.00%), more than max_harmful_fraction 4.00%",
        ),
        (
            {"max_harmful_fraction": 0.08, "harmful_review_above": 0.08},
            "5 of 100 rows flagged as harmful (5.00%): with so few rows the harmful fraction may "
            "be as high as 11.28%, more than max_harmful_fraction 8.00%",
        ),
        (
            {**LENIENT, "flagged": "block"},
            "5 of 100 rows flagged as harmful (5.00%); the policy blocks any flagged sample",
        ),
    ],
)
def test_a_reason_names_the_limits_of_its_question(
    tmp_path: Path, policy: dict[str, Any], why: str
) -> None:
    verdict = judged(tmp_path, config(policy={**POLICY, **policy}), rows(harmful=range(5)))
    _, harmful = both(verdict)
    assert harmful.reasons == [why]


# A method that cannot decide


@pytest.mark.parametrize("means", ["review", "fail", "error"])
def test_where_one_method_cannot_decide_nothing_passes(tmp_path: Path, means: Undecided) -> None:
    settings = config(detection={**_DETECTION, "words": {"undecided_means": means}})
    verdict = judged(tmp_path, settings, rows(doubted=[3]), poisoned=[8])
    poisoned, harmful = both(verdict)
    assert (verdict.decision, poisoned.decision, harmful.decision) == (means, "pass", means)
    assert verdict.exit_code == {"review": 3, "fail": 1, "error": 2}[means]
    assert verdict.accepted_fingerprint is None
    assert "this model refuses nothing" in verdict.reasons
    assert (harmful.n_flagged, harmful.n_in_doubt, harmful.fraction) == (None, 1, None)
    frame = pq.read_table(RunFolder(tmp_path).flags).to_pandas()
    assert frame["harmful_flagged"].isna().all()
    assert frame["harmful_suspicion"].isna().all()
    assert frame["poisoned_flagged"].notna().all()
    assert np.flatnonzero(frame["flagged"].notna()).tolist() == [8]  # of the others nobody knows
    assert np.flatnonzero(frame["in_doubt"]).tolist() == [3]
    assert accept(tmp_path).n == 0


_DETECTION = {
    "methods": ["gradsentry", "words"],
    "gradsentry": {"threshold": {"method": "fixed", "value": 0.7}},
    "power": {"attacks": []},
}


def test_what_is_missing_is_said_where_the_command_line_ends(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = config(detection={**_DETECTION, "words": {"undecided_means": "error"}})
    verdict = judged(tmp_path, settings, rows(), poisoned=[8])
    capsys.readouterr()
    say_summary(verdict, Written(tmp_path / "flags.parquet", None, tmp_path / "flags.rows"))
    lines = capsys.readouterr().err.splitlines()
    flagged = [line.split(maxsplit=1)[1] for line in lines if line.startswith("flagged ")]
    assert flagged == [
        "1 of 100 rows (1.00%) as poisoned, by gradsentry",
        "nothing could be decided as harmful, by words",
    ]
    assert "this model refuses nothing" in "".join(lines)
    assert lines[-1] == "next        mend what is named above, and run it again"


def test_a_pass_without_an_answer_accepts_nothing(tmp_path: Path) -> None:
    settings = config(detection={**_DETECTION, "words": {"undecided_means": "pass"}})
    verdict = judged(tmp_path, settings, rows())
    assert [answer.decision for answer in verdict.answers] == ["pass", "pass"]
    assert (verdict.decision, verdict.reasons[-1]) == ("fail", "not a single row is accepted")


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


# Power, references and earlier versions


def test_canaries_are_for_the_question_of_poison(tmp_path: Path) -> None:
    detection = {"methods": ["words", "recurrence"], "power": {"attacks": ["badnets"]}}
    verdict = judged(tmp_path, config(detection=detection), rows())
    harmful, poisoned = verdict.answers
    assert (harmful.question, harmful.power) == ("harmful", None)
    assert harmful.notes == NO_HARMFUL_CANARIES.not_tried
    assert [power.attack for power in poisoned.power or []] == ["badnets"]
    alone = judged(
        tmp_path / "alone",
        config(detection={"methods": ["words"], "power": {"attacks": ["badnets"]}}),
        rows(),
    )
    (answer,) = alone.answers
    assert (answer.power, answer.notes) == (None, NO_HARMFUL_CANARIES.not_tried)


def test_a_reference_goes_to_the_method_that_takes_one(tmp_path: Path) -> None:
    scored_rows(tmp_path / "trusted", diverse_rows(N, seed=2))
    source = str(tmp_path / "trusted" / "rows.jsonl")
    detection = {"methods": ["words", "recurrence"], "reference": source, "power": {"attacks": []}}
    verdict = judged(tmp_path / "run", config(detection=detection), rows())
    assert verdict.reference is not None
    assert verdict.reference.n_samples == N
    with pytest.raises(ValidationError, match="method gradsentry and words take no detection"):
        config(detection={"reference": source})


def test_a_verdict_of_an_earlier_version_still_loads(tmp_path: Path) -> None:
    verdict = judged(tmp_path, config(["gradsentry"]), rows())
    run = RunFolder(tmp_path)
    names = pq.read_schema(run.flags).names
    assert names[-len(FLAG_FIELDS) :] == [field.name for field in FLAG_FIELDS]
    text = verdict.to_json()
    assert '  "probes": null,\n' in text
    run.verdict.write_text(text.replace('  "probes": null,\n', ""))
    assert load_verdict(run.verdict) == verdict
