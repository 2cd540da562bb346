"""The steps of a gate: their order, how one is replaced, and where they lead."""

import re
import shutil
from collections.abc import Callable, Iterable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow.parquet as pq
import pytest
from flag_helpers import flag

from gradgate.common.run_folder import RunFolder
from gradgate.config import PolicyConfig
from gradgate.data.prepare import Prepared
from gradgate.data.sample import Sample
from gradgate.errors import DataError
from gradgate.gate.acceptance import accept
from gradgate.gate.config import GateConfig
from gradgate.gate.decide import Checked, DisagreementError, Scored, Within, decide
from gradgate.gate.flags import Asked, Flagging, write_flagged
from gradgate.gate.flags import flag as flag_by_all
from gradgate.gate.pipeline import (
    STEPS,
    Detected,
    Steps,
    check_flags,
    check_raw_data,
    judge,
    n_scored_rows,
    run_gate,
)
from gradgate.gate.verdict import Answer, Decision, Verdict
from gradgate.methods.contract import Detection, Question, Scores
from gradgate.methods.gradsentry.config import GradsentryConfig
from gradgate.methods.gradsentry.method import GradsentryMethod
from gradgate.methods.recurrence.config import RecurrenceConfig
from gradgate.methods.recurrence.method import RecurrenceMethod
from gradgate.power.blind_spots import OUT_OF_REACH
from gradgate.power.measurement import NOT_MEASURED, Measured
from gradgate.power.power import Power
from helpers import (
    MODEL,
    diverse_rows,
    poisoned_rows,
    question_rows,
    scored_rows,
    write_jsonl,
)

ORDER = ["fetch", "check_raw_data", "score", "detect", "check_flags", "measure", "decide"]


def config(source: Path | str = "not read", **sections: Any) -> GateConfig:
    """Of method gradsentry with tau = 0.7, without canaries."""
    given: dict[str, dict[str, Any]] = {
        "data": {"source": str(source)},
        "model": {"path": str(MODEL), "device": "cpu", "dtype": "float32"},
        "scoring": {"store": False},
        "detection": {
            "methods": ["gradsentry"],
            "gradsentry": {"threshold": {"method": "fixed", "value": 0.7}},
            "power": {"attacks": []},
        },
    }
    return GateConfig.model_validate(
        {name: {**given.get(name, {}), **sections.get(name, {})} for name in {**given, **sections}}
    )


def recording(steps: Steps = STEPS) -> tuple[Steps, list[str]]:
    """The same steps, each of which also notes its name."""
    done: list[str] = []

    def noted(name: str) -> Any:
        step = getattr(steps, name)

        def run(*arguments: Any) -> Any:
            done.append(name)
            return step(*arguments)

        return run

    return Steps(**{field.name: noted(field.name) for field in fields(Steps)}), done


def answer_of(verdict: Verdict) -> Answer:
    (answer,) = verdict.answers
    return answer


# The order, and replaced steps


def test_the_steps_run_in_their_order_and_leave_the_evidence(tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "rows.jsonl", diverse_rows(40))
    run, (steps, done) = RunFolder(tmp_path / "run"), recording()
    verdict = run_gate(config(source), run, steps)
    assert done == ORDER == [field.name for field in fields(Steps)]
    assert (verdict.n_rows, verdict.n_scored) == (40, 40)
    assert verdict.model["path"] == str(MODEL)
    assert verdict.reference is None
    for path in (run.samples, run.rejected, run.dataset, run.scores, run.flags, run.flagged):
        assert path.exists(), path
    assert run_gate(config(source), RunFolder(tmp_path / "again")) == verdict


def test_one_step_is_replaced_and_the_others_stay(tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "rows.jsonl", diverse_rows(40))
    seen: list[Checked] = []

    def checked(
        prepared: Prepared, detected: Detected, config: GateConfig, run: RunFolder
    ) -> Checked:
        seen.append(check_flags(prepared, detected, config, run))
        return Checked([f"{detected.flaggings[0].n_flagged} flags were not believed"])

    steps, done = recording(replace(STEPS, check_flags=checked))
    verdict = run_gate(config(source), RunFolder(tmp_path / "run"), steps)
    assert done == ORDER
    assert seen == [Checked()]
    assert verdict.decision == "error"
    assert verdict.reasons == [f"{answer_of(verdict).n_flagged} flags were not believed"]
    assert verdict.accepted_fingerprint is None


def test_a_step_that_breaks_ends_the_run(tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "rows.jsonl", diverse_rows(5))

    def broken(*_: Any) -> Any:
        raise ZeroDivisionError

    steps, done = recording(replace(STEPS, detect=broken))
    with pytest.raises(ZeroDivisionError):
        run_gate(config(source), RunFolder(tmp_path / "run"), steps)
    assert done == ORDER[:4]


# Raw data


@pytest.mark.parametrize(
    ("n_good", "n_bad", "limits", "why"),
    [
        (40, 2, {}, r"2 of 42 rows are rejected, more than data\.max_rejected_fraction 1\.00%"),
        (0, 3, {"max_rejected_fraction": 1.0}, "none of the 3 rows can be scored"),
        (40, 0, {"min_rows": 41}, r"40 rows can be scored, fewer than data\.min_rows 41"),
    ],
)
def test_data_that_are_not_fit_are_refused_and_never_scored(
    tmp_path: Path, n_good: int, n_bad: int, limits: dict[str, Any], why: str
) -> None:
    bad: list[dict[str, object]] = [{"question": "who?", "answers": None}] * n_bad
    rows = [*diverse_rows(n_good), *bad]
    source = write_jsonl(tmp_path / "rows.jsonl", rows)
    settings = config(source, data={"source": str(source), **limits})
    run, (steps, done) = RunFolder(tmp_path / "run"), recording()
    verdict = run_gate(settings, run, steps)
    assert done == ORDER[:2]
    assert verdict.decision == "fail"
    assert sum(re.fullmatch(why, reason) is not None for reason in verdict.reasons) == 1
    assert any("rejected rows: " in reason for reason in verdict.reasons) == (n_bad > 0)
    assert (verdict.n_rows, verdict.n_rejected, verdict.n_scored) == (n_good + n_bad, n_bad, 0)
    assert (verdict.answers, verdict.accepted_fingerprint) == ([], None)
    assert not run.scores.exists()


def test_raw_data_within_the_limits_are_fit(tmp_path: Path) -> None:
    prepared = scored_rows(tmp_path, diverse_rows(99))
    run = RunFolder(tmp_path)
    fit = replace(prepared, n_rows=100, n_rejected=1)
    assert check_raw_data(fit, config(), run) == []  # 1 % is within 1 %
    assert check_raw_data(replace(fit, n_rows=99), config(), run) != []


# Scores


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-9])


def drop_column(path: Path) -> None:
    lacking = {"scores.parquet": "status", "flags.parquet": "flagged"}[path.name]
    pq.write_table(pq.read_table(path).drop_columns(lacking), path)


@pytest.mark.parametrize("damage", [truncate, Path.unlink, drop_column])
@pytest.mark.parametrize("name", ["scores", "flags"])
def test_a_table_that_breaks_between_two_steps_is_an_error(
    tmp_path: Path, name: str, damage: Callable[[Path], None]
) -> None:
    prepared = scored_rows(tmp_path, diverse_rows(100), [0.9] * 50 + [0.1] * 50)
    run = RunFolder(tmp_path)
    path: Path = getattr(run, name)

    def detect(*given: Any) -> Detected:
        detected = STEPS.detect(*given)
        damage(path)
        return detected

    asked = config(detection={"methods": ["recurrence"], "power": {"attacks": ["badnets"]}})
    with pytest.raises(DataError, match=f"{re.escape(str(path))} cannot be read"):
        judge(prepared, Scored(100, {}), asked, run, replace(STEPS, detect=detect))
    if name == "flags":
        with pytest.raises(DataError, match=f"{re.escape(str(path))} cannot be read"):
            write_flagged(run, ["poisoned"])


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
    settings = config(detection={"methods": ["recurrence"], "reference": source})
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


def test_the_method_may_ask_the_model_that_scored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the data and in the copies with canaries, the answers are those of the score table."""
    asked: list[int] = []

    def asking(
        self: RecurrenceMethod,
        scores: Scores,
        samples: Iterable[Sample],
        reference: Iterable[Sample] | None,
        settings: RecurrenceConfig,
    ) -> Detection:
        assert scores.ask is not None
        assert scores.tokens is not None
        ids, _, logp = scores.tokens.row(0)
        (answer,) = scores.ask([ids.tolist()])
        last = int(np.flatnonzero(np.isfinite(logp))[-1])
        assert answer[1 : last + 1] == pytest.approx(logp[1 : last + 1], abs=0.05)
        asked.append(scores.n)
        return detect(self, scores, samples, reference, settings)

    detect = RecurrenceMethod.detect
    monkeypatch.setattr(RecurrenceMethod, "detect", asking)
    prepared = scored_rows(tmp_path, diverse_rows(100))
    settings = config(detection={"methods": ["recurrence"], "power": {"attacks": ["badnets"]}})
    judge(prepared, Scored(100, {}), settings, RunFolder(tmp_path))
    assert len(asked) > 1


def test_without_canaries_the_reference_is_read_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared = scored_rows(tmp_path / "run", diverse_rows(60))
    source = write_jsonl(tmp_path / "trusted.jsonl", diverse_rows(60, seed=2))
    detection = {"methods": ["recurrence"], "reference": str(source), "power": {"attacks": []}}
    run, settings = RunFolder(tmp_path / "run"), config(detection=detection)
    detected = STEPS.detect(prepared, settings, run)
    source.unlink()
    assert STEPS.measure(detected, settings, run).power is None


# The tables are those that were judged


def test_tables_of_another_run_are_never_accepted(tmp_path: Path) -> None:
    other = RunFolder(scored_rows(tmp_path / "other", diverse_rows(100, seed=1)).folder)
    flag(other, GradsentryMethod(), GradsentryConfig())
    prepared = scored_rows(tmp_path / "run", diverse_rows(100), [0.1] * 100)
    run = RunFolder(tmp_path / "run")

    def exchanged(config: GateConfig, *arguments: Any) -> Measured:
        shutil.copy(other.samples, run.samples)
        shutil.copy(other.flags, run.flags)
        return NOT_MEASURED

    steps = replace(STEPS, measure=lambda detected, config, run: exchanged(config))
    with pytest.raises(DataError, match="does not hold the samples that were fetched"):
        judge(prepared, Scored(100, {}), config(), run, steps)


def test_flags_that_changed_after_they_were_counted_are_an_error(tmp_path: Path) -> None:
    prepared = scored_rows(tmp_path, diverse_rows(100), [0.9] + [0.1] * 99)
    run = RunFolder(tmp_path)
    lenient = config(policy={"max_poison_fraction": 0.1, "review_above": 0.05})

    def unflag(detected: Detected, config: GateConfig, run: RunFolder) -> Measured:
        table = pq.read_table(run.flags)
        at = table.schema.get_field_index("flagged")
        clean = table.set_column(at, table.schema.field(at), [[False] * 100])
        pq.write_table(clean, run.flags)
        return NOT_MEASURED

    assert judge(prepared, Scored(100, {}), lenient, run).decision == "pass"
    with pytest.raises(DataError, match="has 0 flagged rows, and there were 1"):
        judge(prepared, Scored(100, {}), lenient, run, replace(STEPS, measure=unflag))


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
        order = flagged(run, taus)
        verdict = decide(run, prepared, scored, order, Checked(), none, PolicyConfig())
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
    scored, checked = Scored(20, {}), Checked()
    verdict = decide(run, prepared, scored, [undecided], checked, measured, PolicyConfig())
    answer = answer_of(verdict)
    assert (verdict.decision, answer.decision) == (means, means)
    assert answer.reasons == [undecided.undecided_because]
    assert (answer.n_flagged, answer.fraction, answer.interval) == (None, None, None)
    assert (answer.power, answer.notes) == (power, [*measured.not_tried, OUT_OF_REACH])


def test_without_an_answer_there_is_no_pass(tmp_path: Path) -> None:
    prepared = scored_rows(tmp_path, diverse_rows(20))
    run, none = RunFolder(tmp_path), Measured(None, [])
    flagged(run, {"poisoned": 0.95})
    verdict = decide(run, prepared, Scored(20, {}), [], Checked(), none, PolicyConfig())
    assert verdict.decision == "error"
    assert verdict.accepted_fingerprint is None
    assert verdict.reasons == ["nothing was asked"]
