"""The steps of a gate: their order, how one is replaced, and what one leaves to the next."""

import json
import re
import shutil
from collections.abc import Callable, Iterable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from flag_helpers import flag
from gate_helpers import answer_of, config

from gradgate.common.run_folder import RunFolder
from gradgate.config import ModelConfig
from gradgate.data.prepare import Prepared
from gradgate.data.sample import Sample
from gradgate.errors import DataError, ModelError
from gradgate.gate.config import GateConfig
from gradgate.gate.decide import Checked
from gradgate.gate.findings import Scored
from gradgate.gate.flags import write_flagged
from gradgate.gate.pipeline import (
    STEPS,
    Detected,
    Steps,
    check_flags,
    check_raw_data,
    judge,
    run_gate,
)
from gradgate.methods.contract import Detection, Scores
from gradgate.methods.gradsentry.config import GradsentryConfig
from gradgate.methods.gradsentry.method import GradsentryMethod
from gradgate.methods.recurrence.config import RecurrenceConfig
from gradgate.methods.recurrence.method import RecurrenceMethod
from gradgate.power.measurement import NOT_MEASURED, Measured
from helpers import MODEL, diverse_rows, scored_rows, write_jsonl

ORDER = ["fetch", "check_raw_data", "score", "detect", "honour", "check_flags"]
ORDER += ["measure", "decide"]


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


def test_a_tokenizer_that_is_replaced_behind_the_first_step_is_an_error(tmp_path: Path) -> None:
    """A nightly copy of a model, in the midst of a run."""
    source = write_jsonl(tmp_path / "rows.jsonl", diverse_rows(40))
    folder = tmp_path / "model"
    shutil.copytree(MODEL, folder)
    settings = config(source).model_copy(update={"model": ModelConfig(path=str(folder))})

    def fetched(*arguments: Any) -> Prepared:
        found = STEPS.fetch(*arguments)
        path = folder / "tokenizer.json"
        rules = json.loads(path.read_text())
        digits = {rules["model"]["vocab"][digit]: digit for digit in "0123456789"}
        reverse = zip(sorted(digits), sorted(digits, reverse=True), strict=True)
        rules["model"]["vocab"] |= {digits[other]: number for number, other in reverse}
        path.write_text(json.dumps(rules))
        return found

    run = RunFolder(tmp_path / "run")
    with pytest.raises(ModelError, match="has changed since the samples were made"):
        run_gate(settings, run, replace(STEPS, fetch=fetched))
    assert not run.scores.exists()


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
    settings = config(data={"source": "rows.jsonl", "max_rejected_fraction": 0.29})
    assert check_raw_data(replace(fit, n_rejected=29), settings, run) == []
    assert check_raw_data(replace(fit, n_rejected=30), settings, run) != []


# What a method is given


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
