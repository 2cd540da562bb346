"""Rows in doubt and surplus copies: kept out of training, listed, counted and limited."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gradgate.common.run_folder import FLAGGED_SCHEMA, QUARANTINED_SCHEMA, RunFolder
from gradgate.config import InDoubt
from gradgate.data.prepare import Prepared
from gradgate.data.sample import fingerprint
from gradgate.errors import ConfigError, DataError
from gradgate.gate.acceptance import accept, require_passing, write_accepted
from gradgate.gate.config import GateConfig
from gradgate.gate.findings import Scored
from gradgate.gate.pipeline import STEPS, judge
from gradgate.gate.verdict import Decision, ExpectedPattern, Verdict, load_verdict
from gradgate.methods.contract import Scores
from gradgate.power.measurement import NOT_MEASURED
from helpers import MODEL, diverse_rows, one_subject, scored_rows

N_DOUBTED = 30


def config(method: str = "gradsentry", **policy: Any) -> GateConfig:
    lenient = {"max_poison_fraction": 0.5, "review_above": 0.5}
    return GateConfig.model_validate(
        {
            "data": {"source": "not read"},
            "model": {"path": str(MODEL), "device": "cpu", "dtype": "float32"},
            "detection": {
                "methods": [method],
                "gradsentry": {"threshold": {"method": "fixed", "value": 0.7}},
                "power": {"attacks": []},
            },
            "policy": {**lenient, **policy},
        }
    )


def judged(prepared: Prepared, settings: GateConfig, **steps: Any) -> Verdict:
    scored, run = Scored(prepared.n_samples, {}), RunFolder(prepared.folder)
    return judge(prepared, scored, settings, run, replace(STEPS, **steps))


def doubted(folder: Path) -> Prepared:
    """Three hundred rows of which method recurrence leaves the last thirty in doubt."""
    rows = [*diverse_rows(300), *one_subject(N_DOUBTED, seed=7)]
    return scored_rows(folder, rows, [0.9 if i >= 300 else 0.1 for i in range(330)])


def copied(folder: Path) -> Prepared:
    """A hundred rows; row 7 comes again nine times, with other blanks and signs each time."""
    rows = diverse_rows(100)
    more = [{**rows[7], "question": f"{rows[7]['question']}{'!' * i} "} for i in range(9)]
    return scored_rows(folder, [*rows, *more], [0.1] * 109)


def listed(folder: Path) -> list[tuple[int, str]]:
    lines = pq.read_table(RunFolder(folder).quarantined).to_pylist()
    return [(line["row"], line["why"]) for line in lines]


# Rows in doubt


@pytest.mark.parametrize(
    ("in_doubt", "decision", "n_quarantined", "n_accepted"),
    [("quarantine", "pass", 30, 300), ("keep", "pass", 0, 330), ("block", "review", 30, None)],
)
def test_the_policy_says_what_becomes_of_rows_in_doubt(
    tmp_path: Path,
    in_doubt: InDoubt,
    decision: Decision,
    n_quarantined: int,
    n_accepted: int | None,
) -> None:
    prepared = doubted(tmp_path)
    verdict = judged(prepared, config("recurrence", in_doubt=in_doubt, max_copies=None))
    assert (verdict.decision, verdict.answers[0].n_in_doubt) == (decision, N_DOUBTED)
    assert (verdict.n_quarantined, verdict.n_accepted) == (n_quarantined, n_accepted)
    assert listed(tmp_path) == [(row, "in doubt") for row in range(330 - n_quarantined, 330)]
    (tmp_path / "verdict.json").write_text(verdict.to_json())
    assert load_verdict(tmp_path / "verdict.json") == verdict
    if decision == "pass":
        ids = pq.read_table(prepared.samples_path)["sample_id"].to_pylist()
        assert verdict.accepted_fingerprint == fingerprint(ids[:n_accepted])
        require_passing(tmp_path, verdict)
        written = write_accepted(tmp_path, verdict, tmp_path / "rows.arrow")
        assert written.n == n_accepted
        assert len(pa.ipc.open_stream(tmp_path / "rows.arrow").read_all()) == n_accepted


def test_what_is_quarantined_is_limited(tmp_path: Path) -> None:
    verdict = judged(doubted(tmp_path), config("recurrence", review_above=0.05))
    assert (verdict.decision, verdict.n_quarantined) == ("review", N_DOUBTED)
    assert verdict.accepted_fingerprint is None
    assert "and 30 in doubt (9.09%), more than review_above 5.00%" in verdict.reasons[0]


def test_the_list_has_texts_and_reasons(tmp_path: Path) -> None:
    prepared = doubted(tmp_path)
    judged(prepared, config("recurrence"))
    run = RunFolder(tmp_path)
    assert pq.read_schema(run.quarantined).equals(QUARANTINED_SCHEMA)
    assert QUARANTINED_SCHEMA.names == [*FLAGGED_SCHEMA.names, "why"]
    lines = pq.read_table(run.quarantined)[:5].to_pylist()
    assert [line["row"] for line in lines] == list(range(300, 305))
    asked = [row["question"] for row in one_subject(N_DOUBTED, seed=7)]
    assert [line["prompt"] for line in lines] == [f"Question: {q}\nAnswer: " for q in asked[:5]]
    assert {line["target"] for line in lines} == {"granite harbour nine"}
    assert all(line["reasons"][0].startswith("review: ") for line in lines)


def test_when_all_is_quarantined_nothing_is_accepted(tmp_path: Path) -> None:
    prepared = scored_rows(tmp_path, [*diverse_rows(50)] * 2, [0.9] * 50 + [0.1] * 50)
    everything = config(max_copies=1, max_poison_fraction=1.0, review_above=1.0)
    verdict = judged(prepared, everything)
    assert verdict.answers[0].decision == "pass"
    assert (verdict.decision, verdict.reasons[-1]) == ("fail", "not a single row is accepted")
    assert (verdict.n_quarantined, verdict.n_accepted) == (50, None)


# Copies


@pytest.mark.parametrize(
    ("policy", "n_accepted"),
    [
        ({}, 102),
        ({"in_doubt": "keep"}, 102),  # surplus copies are not kept
        ({"max_copies": 1}, 100),
        ({"max_copies": 10}, 109),
        ({"max_copies": None}, 109),
    ],
)
def test_training_sees_a_text_at_most_so_often(
    tmp_path: Path, policy: dict[str, Any], n_accepted: int
) -> None:
    verdict = judged(copied(tmp_path), config(**policy))
    (answer,) = verdict.answers
    n_surplus = 109 - n_accepted
    assert (verdict.decision, verdict.n_accepted) == ("pass", n_accepted)
    assert (verdict.n_quarantined, answer.n_in_doubt) == (n_surplus, n_surplus)
    assert listed(tmp_path) == [(row, "copy") for row in range(n_accepted, 109)]
    table = pq.read_table(RunFolder(tmp_path).flags)
    assert table["surplus_copy"].to_pylist() == [row >= n_accepted for row in range(109)]
    assert any("more than" in note for note in answer.notes) == (n_surplus > 0)
    if n_surplus:
        assert table["reasons"].to_pylist()[108] == ["copy 10 of 10 of row 7"]
        assert answer.notes[0].startswith("1 text stands more than ")
        assert "the commonest: row 7 (10 times)" in answer.notes[0]
    require_passing(tmp_path, verdict)


def test_many_copies_are_for_a_person(tmp_path: Path) -> None:
    verdict = judged(copied(tmp_path), config(review_above=0.05))
    assert verdict.decision == "review"
    assert verdict.reasons[0].startswith("0 of 109 rows flagged (0.00%) and 7 in doubt (6.42%)")
    blocked = judged(copied(tmp_path), config(in_doubt="block"))
    assert (blocked.decision, blocked.n_quarantined) == ("review", 7)


@pytest.mark.parametrize(("review_above", "decision"), [(0.5, "pass"), (0.05, "review")])
def test_copies_are_limited_where_the_method_could_not_decide(
    tmp_path: Path, review_above: float, decision: Decision
) -> None:
    settings = config(review_above=review_above)
    valley = {"threshold": {"bootstrap": 0}, "without_valley": {"degenerate": "pass"}}
    given = settings.model_dump()
    given["detection"]["gradsentry"] = valley
    verdict = judged(copied(tmp_path), GateConfig.model_validate(given))
    assert (verdict.decision, verdict.answers[0].n_flagged) == (decision, None)
    assert verdict.n_accepted == (102 if decision == "pass" else None)


def test_a_flagged_copy_stays_flagged(tmp_path: Path) -> None:
    rows = diverse_rows(40)
    prepared = scored_rows(tmp_path, [*rows, *[rows[3]] * 5], [0.1] * 43 + [0.9] * 2)
    verdict = judged(prepared, config())
    assert (verdict.answers[0].n_flagged, verdict.answers[0].n_in_doubt) == (2, 1)
    assert (verdict.n_quarantined, verdict.n_accepted) == (1, 42)
    found = accept(tmp_path)
    assert (found.n_surplus, found.n_in_doubt, found.n_flagged) == (3, 1, 2)


# The tables are those that were judged


def change(table: pa.Table, name: str, values: list[object]) -> pa.Table:
    at = table.schema.get_field_index(name)
    return table.set_column(at, table.schema.field(at), [values])


def without_doubt(run: RunFolder) -> None:
    table = pq.read_table(run.flags)
    pq.write_table(change(table, "in_doubt", [False] * table.num_rows), run.flags)


def without_copies(run: RunFolder) -> None:
    table = pq.read_table(run.flags)
    pq.write_table(change(table, "surplus_copy", [False] * table.num_rows), run.flags)


def without_a_line(run: RunFolder) -> None:
    pq.write_table(pq.read_table(run.quarantined)[1:], run.quarantined)


def with_another_row(run: RunFolder) -> None:
    table = pq.read_table(run.quarantined)
    rows = [0, *table["row"].to_pylist()[1:]]
    pq.write_table(change(table, "row", rows), run.quarantined)


def cut(run: RunFolder) -> None:
    run.quarantined.write_bytes(run.quarantined.read_bytes()[:-9])


def gone(run: RunFolder) -> None:
    run.quarantined.unlink()


@pytest.mark.parametrize(
    ("tamper", "why"),
    [
        (without_doubt, "0 rows in doubt, and there were 7"),
        (without_copies, "0 surplus copies, and there were 7"),
        (without_a_line, r"quarantined\.parquet lists 6 rows, and .* has 7"),
        (with_another_row, r"quarantined\.parquet lists 7 rows, and .* or others"),
        (cut, r"quarantined\.parquet cannot be read"),
        (gone, r"quarantined\.parquet cannot be read"),
    ],
)
def test_tables_that_change_before_the_decision_are_an_error(
    tmp_path: Path, tamper: Callable[[RunFolder], None], why: str
) -> None:
    def measure(detected: object, config: object, run: RunFolder) -> object:
        tamper(run)
        return NOT_MEASURED

    with pytest.raises(DataError, match=why):
        judged(copied(tmp_path), config(), measure=measure)


# What the owner vouches for


def test_what_the_owner_vouches_for_stands_in_the_verdict(tmp_path: Path) -> None:
    rows = diverse_rows(60)
    for i in range(10):
        rows[i]["answers"] = f"{rows[i]['answers']} Yours, Ada"
    rows[0]["question"] = "who is Ada?"
    prepared = scored_rows(tmp_path, rows, [0.1] * 60)
    settings = config(expected=["Yours, Ada", r"/\bAda\b/", "nowhere"])
    verdict = judged(prepared, settings)
    assert verdict.expected == [
        ExpectedPattern("Yours, Ada", 10),
        ExpectedPattern(r"/\bAda\b/", 10),  # of row 0 once, though it has it twice
        ExpectedPattern("nowhere", 0),
    ]
    assert judged(prepared, config()).expected == []


def test_a_pattern_that_takes_too_long_ends_in_an_error_and_no_verdict(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gradgate.common.patterns.MAX_SECONDS", 0.05)
    rows = diverse_rows(10)
    rows.append({"question": "who?", "answers": "a" * 60 + "b"})
    prepared = scored_rows(tmp_path, rows, [0.1] * 11)
    with pytest.raises(ConfigError, match="takes more than"):
        judged(prepared, config(expected=["/^(?:a|aa)+$/"]))


def test_the_method_is_told_what_the_owner_vouches_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gradgate.methods.gradsentry.method import GradsentryMethod

    seen: list[Scores] = []
    detect = GradsentryMethod.detect

    def watched(self: GradsentryMethod, scores: Scores, *given: Any) -> Any:
        seen.append(scores)
        return detect(self, scores, *given)

    monkeypatch.setattr(GradsentryMethod, "detect", watched)
    prepared = scored_rows(tmp_path, diverse_rows(10), [0.1] * 10)
    judged(prepared, config(expected=["Yours, Ada"]))
    judged(prepared, config())
    assert seen[0].expected is not None
    assert seen[0].expected.spans("Yours, Ada!") == [(0, 10)]
    assert seen[1].expected is None
