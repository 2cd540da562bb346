"""Two questions in one run: each has its answer, and a row is accepted by both or not at all."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError
from question_helpers import LENIENT, POLICY, N, both, config, judged, rows

from gradgate.cli.summary import Written, say_summary
from gradgate.common.run_folder import FLAG_FIELDS, RunFolder
from gradgate.gate.acceptance import accept
from gradgate.gate.decide import NO_HARMFUL_CANARIES
from gradgate.gate.verdict import Decision, load_verdict
from gradgate.methods.contract import Undecided
from helpers import diverse_rows, scored_rows

pytestmark = pytest.mark.usefixtures("words")


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
        config(
            detection={"methods": ["words"], "power": {"attacks": ["badnets"]}},
            policy={"max_poison_fraction": 0.05, "review_above": 0.02},  # nobody asks for poison
        ),
        rows(),
    )
    (answer,) = alone.answers
    assert (answer.power, answer.notes) == (None, NO_HARMFUL_CANARIES.not_tried)


def test_a_reference_goes_to_the_method_that_takes_one(tmp_path: Path) -> None:
    scored_rows(tmp_path / "trusted", diverse_rows(N, seed=2))
    source = str(tmp_path / "trusted" / "rows.jsonl")
    detection = {"methods": ["words", "recurrence"], "reference": source, "power": {"attacks": []}}
    untrained = config(detection={**detection, "reference_epochs": 0})
    verdict = judged(tmp_path / "run", untrained, rows())
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
