"""What a gate decides on rows with scores: the verdict, its answers, and a check of them."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import pytest
from gate_helpers import answer_of, config

from gradgate.common.run_folder import RunFolder
from gradgate.config import PolicyConfig
from gradgate.gate.acceptance import accept
from gradgate.gate.decide import Checked, DisagreementError, Within, decide
from gradgate.gate.findings import Findings, Scored
from gradgate.gate.flags import Asked, Flagging
from gradgate.gate.flags import flag as flag_by_all
from gradgate.gate.pipeline import STEPS, judge, n_scored_rows
from gradgate.gate.verdict import Decision, Verdict
from gradgate.methods.contract import Question
from gradgate.methods.gradsentry.config import GradsentryConfig
from gradgate.methods.gradsentry.method import GradsentryMethod
from gradgate.power.blind_spots import OUT_OF_REACH
from gradgate.power.measurement import Measured
from gradgate.power.power import Power
from helpers import diverse_rows, poisoned_rows, question_rows, scored_rows

# Scores


def test_rows_without_a_score_are_an_error(tmp_path: Path) -> None:
    prepared = scored_rows(tmp_path, diverse_rows(100), [0.1] * 100, failed=[7, 8])
    run = RunFolder(tmp_path)
    assert n_scored_rows(run) == 98
    verdict = judge(prepared, Scored(98, {"path": "m"}), config(), run)
    assert verdict.decision == "error"
    assert verdict.reasons == ["2 of 100 rows could not be scored"]
    assert (verdict.n_scored, verdict.accepted_fingerprint) == (98, None)
    assert answer_of(verdict).decision == "pass"  # of the rows that were scored


def test_no_row_with_a_score_is_an_error(tmp_path: Path) -> None:
    prepared = scored_rows(tmp_path, diverse_rows(5), failed=range(5))
    verdict = judge(prepared, Scored(0, {"path": "m"}), config(), RunFolder(tmp_path))
    assert verdict.decision == "error"
    assert (answer_of(verdict).n_flagged, answer_of(verdict).fraction) == (None, None)


def test_clean_rows_pass_and_are_accepted(tmp_path: Path) -> None:
    prepared = scored_rows(tmp_path, diverse_rows(100), [0.9] + [0.1] * 99)
    verdict = judge(prepared, Scored(100, {"path": "m"}), config(), RunFolder(tmp_path))
    answer = answer_of(verdict)
    assert (verdict.decision, answer.n_flagged, answer.tau) == ("review", 1, 0.7)
    lenient = config(policy={"max_poison_fraction": 0.1, "review_above": 0.05})
    verdict = judge(prepared, Scored(100, {"path": "m"}), lenient, RunFolder(tmp_path))
    accepted = accept(tmp_path)
    assert (verdict.decision, accepted.n) == ("pass", 99)
    assert verdict.accepted_fingerprint == accepted.fingerprint
    assert verdict.accepted_tokens == accepted.tokens_digest
    assert verdict.dataset_fingerprint == prepared.fingerprint


def test_not_a_single_accepted_row_is_a_fail(tmp_path: Path) -> None:
    prepared = scored_rows(tmp_path, diverse_rows(100), [0.9] * 100)
    everything = config(policy={"max_poison_fraction": 1.0, "review_above": 1.0})
    verdict = judge(prepared, Scored(100, {"path": "m"}), everything, RunFolder(tmp_path))
    assert answer_of(verdict).decision == "pass"
    assert verdict.decision == "fail"
    assert verdict.reasons[-1] == "not a single row is accepted"
    assert (verdict.accepted_fingerprint, verdict.accepted_tokens) == (None, None)


def test_a_reference_and_its_size_stand_in_the_verdict(tmp_path: Path) -> None:
    rows, poisoned = poisoned_rows(diverse_rows(300), "badnets", 0.1)
    prepared = scored_rows(tmp_path / "run", rows)
    trusted = scored_rows(tmp_path / "trusted", diverse_rows(300, seed=2))
    source = str(tmp_path / "trusted" / "rows.jsonl")
    detection = {"methods": ["recurrence"], "reference": source, "reference_epochs": 0}
    settings = config(detection=detection)
    verdict = judge(prepared, Scored(300, {"path": "m"}), settings, RunFolder(tmp_path / "run"))
    assert answer_of(verdict).n_flagged == len(poisoned)
    assert verdict.reference is not None
    assert verdict.reference.source == source
    assert verdict.reference.fingerprint == trusted.fingerprint
    assert verdict.reference.n_samples == 300


def test_the_power_stands_in_the_answer(tmp_path: Path) -> None:
    rows = diverse_rows(100)
    prepared = scored_rows(tmp_path, rows)
    power = {"attacks": ["badnets", "adaptive"]}
    settings = config(detection={"methods": ["recurrence"], "power": power})
    answer = answer_of(judge(prepared, Scored(100, {}), settings, RunFolder(tmp_path)))
    assert [found.attack for found in answer.power or []] == ["badnets", "adaptive"]
    assert answer.blind_to == ["adaptive"]
    without = config(detection={"methods": ["recurrence"], "power": {"attacks": []}})
    assert answer_of(judge(prepared, Scored(100, {}), without, RunFolder(tmp_path))).power is None


def test_where_the_method_cannot_decide_no_power_is_claimed(tmp_path: Path) -> None:
    """Data of text alone; and data whose many groups make the method undecided."""
    texts: list[dict[str, object]] = [{"text": str(row["question"])} for row in diverse_rows(60)]
    prepared = scored_rows(tmp_path, texts)
    power = {"attacks": ["badnets"]}
    settings = config(detection={"methods": ["recurrence"], "power": power})
    answer = answer_of(judge(prepared, Scored(60, {}), settings, RunFolder(tmp_path)))
    assert (answer.decision, answer.power) == ("review", None)
    why = "no canaries were planted: the method cannot decide on these data"
    assert answer.notes == [why, OUT_OF_REACH]


# A check of the fraction, and the policy


def verdicts_of_checks(folder: Path, n_flagged: int) -> Callable[[Checked], Verdict]:
    """What a gate decides on 100 rows, by what is made of their check."""
    entropies = [0.9] * n_flagged + [0.1] * (100 - n_flagged)
    prepared = scored_rows(folder, diverse_rows(100), entropies)

    def verdict(checked: Checked) -> Verdict:
        steps = replace(STEPS, check_flags=lambda *_: checked)
        return judge(prepared, Scored(100, {}), config(), RunFolder(folder), steps)

    return verdict


@pytest.mark.parametrize(("n_flagged", "is_within"), [(5, True), (6, False), (0, True)])
def test_a_check_that_contradicts_the_policy_is_a_bug(
    tmp_path: Path, n_flagged: int, is_within: bool
) -> None:
    verdict = verdicts_of_checks(tmp_path, n_flagged)
    in_review = n_flagged <= 2
    agreed = verdict(Checked(within={"poisoned": Within(is_within, in_review)}))
    assert (agreed.decision == "fail") == (not is_within)
    assert verdict(Checked()) == agreed
    with pytest.raises(DisagreementError, match=f"{n_flagged} flagged rows of 100"):
        verdict(Checked(within={"poisoned": Within(not is_within, in_review)}))
    contrary: dict[Question, Within] = {"poisoned": Within(not is_within, in_review)}
    broken = verdict(Checked(["a column is missing"], contrary))
    assert (broken.decision, broken.reasons) == ("error", ["a column is missing"])


@pytest.mark.parametrize(("n_flagged", "is_within"), [(2, True), (3, False)])
def test_a_check_of_the_rows_for_review_may_not_contradict_the_policy_either(
    tmp_path: Path, n_flagged: int, is_within: bool
) -> None:
    verdict = verdicts_of_checks(tmp_path, n_flagged)
    assert verdict(Checked(within={"poisoned": Within(True, is_within)})) == verdict(Checked())
    with pytest.raises(DisagreementError, match="review_above"):
        verdict(Checked(within={"poisoned": Within(True, not is_within)}))


# Several answers


def flagged(run: RunFolder, taus: dict[Question, float], **without_valley: str) -> list[Flagging]:
    """What gradsentry says; with `without_valley`, of too few rows for a valley."""
    asked = []
    for question, tau in taus.items():
        threshold = {"bootstrap": 0} if without_valley else {"method": "fixed", "value": tau}
        settings = {"threshold": threshold, "without_valley": without_valley}
        method = GradsentryMethod() if question == "poisoned" else HarmfulEntropy()
        asked.append(Asked(method, GradsentryConfig.model_validate(settings)))
    return flag_by_all(run, asked)


class HarmfulEntropy(GradsentryMethod):
    """The same of the other question."""

    name: ClassVar[str] = "harmful_entropy"
    question: ClassVar[Question] = "harmful"


@pytest.mark.parametrize(
    ("second", "decision"), [(0.95, "pass"), (0.85, "review"), (0.65, "fail"), (0.0, "fail")]
)
def test_the_verdict_is_the_worst_of_its_answers(
    tmp_path: Path, second: float, decision: Decision
) -> None:
    """Of 1,000 rows none is above 0.95, 3 % are above 0.85, and 8 % are above 0.65."""
    entropies = [0.9] * 30 + [0.7] * 50 + [0.1] * 920
    prepared = scored_rows(tmp_path, question_rows(1_000), entropies)
    run = RunFolder(tmp_path)
    scored, none = Scored(1_000, {}), Measured(None, [])
    orders: list[dict[Question, float]] = [
        {"harmful": second, "poisoned": 0.95},
        {"poisoned": 0.95, "harmful": second},
    ]
    for taus in orders:
        findings = Findings(flagged(run, taus), scored, none)
        verdict = decide(run, prepared, findings, Checked(), PolicyConfig())
        assert verdict.decision == decision
        assert [found.question for found in verdict.answers] == list(taus)
        poisoned, harmful = verdict.answer("poisoned"), verdict.answer("harmful")
        assert poisoned is not None
        assert harmful is not None
        assert (poisoned.decision, harmful.decision) == ("pass", decision)
        assert verdict.reasons == [r for found in verdict.answers for r in found.reasons]
        assert (verdict.accepted_fingerprint is not None) == (decision == "pass")


@pytest.mark.parametrize("means", ["review", "fail", "pass"])
def test_an_answer_that_could_not_be_given_is_what_the_settings_make_of_it(
    tmp_path: Path, means: Decision
) -> None:
    prepared = scored_rows(tmp_path, diverse_rows(20))
    run = RunFolder(tmp_path)
    (undecided,) = flagged(run, {"poisoned": 0.0}, too_few=means)
    assert undecided.undecided_because is not None
    power = [Power("badnets", 12, 12, 1.0, (0.7, 1.0), 12, 0.1)]
    measured = Measured(power, ["cba: fewer than 12 samples can carry it"])
    findings = Findings([undecided], Scored(20, {}), measured)
    verdict = decide(run, prepared, findings, Checked(), PolicyConfig())
    answer = answer_of(verdict)
    assert (verdict.decision, answer.decision) == (means, means)
    assert answer.reasons == [undecided.undecided_because]
    assert (answer.n_flagged, answer.fraction, answer.interval) == (None, None, None)
    assert (answer.power, answer.notes) == (power, [*measured.not_tried, OUT_OF_REACH])


def test_without_an_answer_there_is_no_pass(tmp_path: Path) -> None:
    prepared = scored_rows(tmp_path, diverse_rows(20))
    run, none = RunFolder(tmp_path), Measured(None, [])
    flagged(run, {"poisoned": 0.95})
    findings = Findings([], Scored(20, {}), none)
    verdict = decide(run, prepared, findings, Checked(), PolicyConfig())
    assert verdict.decision == "error"
    assert verdict.accepted_fingerprint is None
    assert verdict.reasons == ["nothing was asked"]
