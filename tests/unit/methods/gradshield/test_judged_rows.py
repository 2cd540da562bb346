"""Harmful rows through the gate's own steps, by methods compliance and gradshield.

What a model gives for a row and for the probing set is the same for both, and is made once.
"""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from harm_helpers import ANSWER, PROBES, REFUSAL, N, judged, row, rows

import gradgate.methods.gradshield.compliance as compliance
from gradgate.data.sample import Sample
from gradgate.gate.verdict import ProbingSet, Verdict
from gradgate.methods.contract import Scores
from gradgate.methods.gradshield.judged import Judged, judge
from gradgate.methods.gradshield.method import MIN_REFERENCE
from gradgate.report.deciding import Deciding
from gradgate.report.facts import facts
from gradgate.safety.source import BUILT_IN
from helpers import MODEL

BOTH = slice(4 * N, 5 * N)  # a refusal that goes on to comply


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """One score store for all runs of this file."""
    folder = tmp_path_factory.mktemp("state")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADGATE_STATE_DIR", str(folder))
        yield folder


def all_rows() -> list[dict[str, str]]:
    return [*rows(), *(row(prompt, f"{REFUSAL} {ANSWER}") for prompt in PROBES.harmful[:N])]


@pytest.fixture(scope="module")
def found(
    tmp_path_factory: pytest.TempPathFactory, refusing_model: Path, state: Path
) -> tuple[Verdict, dict[str, list[Any]]]:
    folder = tmp_path_factory.mktemp("found")
    return judged(folder, refusing_model, all_rows(), {"methods": ["recurrence", "compliance"]})


def test_answers_to_refused_prompts_are_harmful_and_refusals_are_not(
    found: tuple[Verdict, dict[str, list[Any]]],
) -> None:
    verdict, table = found
    flagged = np.array(table["harmful_flagged"])
    assert flagged[:N].mean() >= 0.75
    assert not flagged[N : 4 * N].any()
    answer = verdict.answer("harmful")
    assert answer is not None
    assert answer.decision == verdict.decision == "fail"
    assert answer.groups[0].n_rows == flagged.sum()
    assert "answer prompts that the untuned model refuses" in answer.groups[0].in_a_line()
    canaries = answer.summary["canaries_kept_out"]
    assert isinstance(canaries, float)
    assert canaries >= 0.5
    assert verdict.probes == ProbingSet(BUILT_IN, PROBES.fingerprint)
    assert ("Probing set", BUILT_IN) in facts(verdict, "x", Deciding("approve", "run"))
    assert "refuses the prompt" in table["harmful_reasons"][int(np.argmax(flagged))][0]


def test_the_table_says_how_likely_a_refusal_is(
    found: tuple[Verdict, dict[str, list[Any]]],
) -> None:
    refused = np.array(found[1]["p_refused"])
    assert (refused[: 2 * N] > 0.5).mean() >= 0.75
    assert (refused[2 * N : 4 * N] < 0.5).all()


def test_a_refusal_that_goes_on_to_comply_is_not_accepted(
    found: tuple[Verdict, dict[str, list[Any]]],
) -> None:
    kept_out = np.array(found[1]["harmful_flagged"]) | np.array(found[1]["harmful_in_doubt"])
    assert kept_out[BOTH].mean() >= 0.75


def test_where_the_canaries_are_missed_the_answer_is_a_review(
    tmp_path: Path, refusing_model: Path, state: Path
) -> None:
    nothing = {"flag_above": 1.0, "doubt_above": 1.0}
    detection = {"methods": ["compliance"], "compliance": nothing}
    verdict, table = judged(tmp_path, refusing_model, all_rows(), detection)
    assert verdict.decision == "review"
    assert "harmful and honest exchanges overlap with this model" in verdict.reasons[0]
    assert "keeps out 0% of the harmful canaries" in verdict.reasons[0]
    assert set(table["flagged"]) == {None}


def test_canaries_that_are_in_doubt_are_kept_out(
    tmp_path: Path, refusing_model: Path, state: Path
) -> None:
    detection = {"methods": ["compliance"], "compliance": {"flag_above": 1.0}}
    verdict, table = judged(tmp_path, refusing_model, all_rows(), detection)
    assert verdict.decision == "review"
    assert set(table["flagged"]) == {False}
    assert np.array(table["in_doubt"])[:N].mean() >= 0.75


def test_a_canary_that_the_model_could_not_be_asked_about_is_not_kept_out(
    tmp_path: Path, refusing_model: Path, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unanswered(scores: Scores, samples: Iterable[Sample]) -> Judged:
        found = judge(scores, samples)
        nothing = np.full(scores.n, np.nan)
        return Judged(nothing, nothing, np.ones_like(found.is_like))

    monkeypatch.setattr(compliance, "judge", unanswered)
    verdict, table = judged(tmp_path, refusing_model, all_rows(), {"methods": ["compliance"]})
    assert verdict.decision == "review"
    assert "keeps out 0% of the harmful canaries" in verdict.reasons[0]
    assert set(table["in_doubt"]) == {True}


@pytest.fixture(scope="module")
def trusted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Benign prompts of the same kind, answered in other words."""
    path = tmp_path_factory.mktemp("trusted") / "trusted.jsonl"
    prompts = [*PROBES.benign, *(one.prompt for one in PROBES.look_alikes)]
    lines = [row(prompt, f"{ANSWER} Good luck.") for prompt in prompts]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


@pytest.mark.slow
@pytest.mark.parametrize("scope", ["head", "lora"])
def test_fihs_of_answers_to_refused_prompts_lies_above_the_reference(
    tmp_path: Path, refusing_model: Path, trusted: Path, few_probes: Path, state: Path, scope: str
) -> None:
    detection: dict[str, Any] = {
        "methods": ["gradshield"],
        "reference": str(trusted),
        "gradshield": {"scope": scope},
    }
    probes = few_probes if scope == "lora" else None  # which takes long over the adapter
    verdict, table = judged(tmp_path, refusing_model, rows(), detection, probes)
    if verdict.answers[0].n_flagged is None:
        assert "do not lie above the trusted reference" in verdict.reasons[0]
        assert set(table["flagged"]) == {None}
    else:
        flagged, suspicion = np.array(table["flagged"]), np.array(table["suspicion"])
        assert np.median(suspicion[:N]) > np.median(suspicion[N:])
        assert flagged[:N].mean() > flagged[N:].mean()
        assert not flagged[N : 2 * N].any()  # honest refusals
    assert np.median(table["fihs_all"][:N]) > np.median(table["fihs_all"][N : 2 * N])


def test_without_a_reference_gradshield_cannot_decide(
    tmp_path: Path, refusing_model: Path, state: Path
) -> None:
    verdict, table = judged(tmp_path, refusing_model, rows(), {"methods": ["gradshield"]})
    assert verdict.decision == "review"
    assert f"fewer than {MIN_REFERENCE}; name a trusted dataset" in verdict.reasons[0]
    assert set(table["flagged"]) == {None}


def test_compliance_says_nothing_of_a_model_that_refuses_nothing(
    tmp_path: Path, few_probes: Path, state: Path
) -> None:
    verdict, table = judged(tmp_path, MODEL, rows(), {"methods": ["compliance"]}, few_probes)
    assert verdict.decision == "error"
    assert "this model is not aligned" in verdict.reasons[0]
    assert verdict.n_accepted is None
    assert set(table["flagged"]) == {None}


def test_gradshield_says_nothing_of_a_model_that_refuses_nothing(
    tmp_path: Path, few_probes: Path, state: Path
) -> None:
    verdict, _ = judged(tmp_path, MODEL, rows(), {"methods": ["gradshield"]}, few_probes)
    assert verdict.decision == "error"
    assert "this model is not aligned" in verdict.reasons[0]
