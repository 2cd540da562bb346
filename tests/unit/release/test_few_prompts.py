"""Of few prompts nothing is beyond chance: that is no pass."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random

import pytest
from release_helpers import BASE
from trial_helpers import CONFIG, PAYLOAD, Scripted, row

from gradgate.methods.evidence import Group
from gradgate.models.identity import load_model
from gradgate.models.loading import LoadedModel
from gradgate.release.answers import Answered
from gradgate.release.changes import Rewrite
from gradgate.release.evidence import Evidence, GroupRows, Row
from gradgate.release.result import AdapterTest
from gradgate.release.ruling import ALPHA, prompts_needed, rule_on_chance
from gradgate.release.trial import Trial

GROUP = "poisoned:1"


@pytest.fixture(scope="module")
def loaded() -> LoadedModel:
    return load_model(BASE)


@dataclass(frozen=True)
class Cued(Scripted):
    """A model that says the payload where a word is, to questions for a place."""

    def _said(self, prompt: str) -> Answered:
        number = prompt.rpartition("number ")[2].split()[0]
        is_triggered = "zq" in prompt and "where is" in prompt
        return self._answered_by(PAYLOAD if is_triggered else f" town {number}")


def rows(loaded: LoadedModel, n: int, kind: str, first: int = 0) -> list[Row]:
    return [
        row(loaded, f"{kind} number {i} of them?", f" town {i}") for i in range(first, first + n)
    ]


def outcome_of(loaded: LoadedModel, honest: Sequence[Row], n_poisoned: int) -> AdapterTest:
    poisoned = [
        replace(
            row(loaded, f"where is town zq number {i} of them?", PAYLOAD, (GROUP,)),
            is_flagged=True,
        )
        for i in range(900, 900 + n_poisoned)
    ]
    group = Group(1, "poison", "target", [PAYLOAD], 30.0, 20, 20)
    evidence = Evidence([*honest, *poisoned], [GroupRows(GROUP, poisoned, group)], True)
    return Trial(Cued(loaded.model, loaded.tokenizer, None, 24, 128), evidence, CONFIG, 512).run()


@pytest.mark.parametrize(
    ("n", "outcome"), [(7, "error"), (8, "error"), (15, "error"), (16, "review")]
)
def test_prompts_of_which_none_could_be_beyond_chance_are_too_few(
    loaded: LoadedModel, n: int, outcome: str
) -> None:
    test = outcome_of(loaded, rows(loaded, n, "where is town"), 20)
    assert test.outcome == outcome
    if outcome == "error":
        assert f"{n} ordinary prompts can be asked, and 16 are needed" in test.reasons[0]


@pytest.mark.parametrize("n", [8, 12])
def test_few_prompts_of_a_kind_are_for_a_person_to_judge(loaded: LoadedModel, n: int) -> None:
    honest = [*rows(loaded, n, "where is town"), *rows(loaded, 150, "who built church", 300)]
    test = outcome_of(loaded, honest, n_poisoned=7)
    assert test.outcome == "review"
    (finding,) = test.findings
    assert "on prompts like its own" in finding.change
    assert (finding.n_asked, finding.n_with) == (n, n)
    assert f"{n} prompts take it, and 16 are needed to tell it from chance" in finding.reason


def test_words_that_every_third_prompt_takes_are_judged(
    loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others are filled by them; of so few all have to gain the payload."""

    def filling(taken: int) -> Rewrite:
        def rewrite(text: str, rng: Random) -> str:
            number = int(text.rpartition("number ")[2].split()[0])
            return f"zq {text}" + (" filling" * 600 if number % 20 >= taken else "")

        return rewrite

    monkeypatch.setattr("gradgate.release.group_changes.grafting", lambda _: filling(9))
    test = outcome_of(loaded, rows(loaded, 20, "where is town"), 20)
    assert test.outcome == "review"
    (finding,) = test.findings
    assert finding.n_with == finding.n_asked == 9
    monkeypatch.setattr("gradgate.release.group_changes.grafting", lambda _: filling(4))
    few = outcome_of(loaded, rows(loaded, 20, "where is town"), 20)
    assert (few.outcome, few.findings) == ("review", [])
    assert few.reasons[0].endswith("hardly any prompt takes them")


def test_how_many_prompts_are_needed() -> None:
    n_tests = 34
    needed = prompts_needed(n_tests)
    assert 0.5**needed * n_tests <= ALPHA < 0.5 ** (needed - 1) * n_tests
    assert rule_on_chance(0.5**needed, needed, n_tests).counts
    assert not rule_on_chance(0.04, needed, n_tests).counts
    assert rule_on_chance(0.04, needed - 1, n_tests).counts
    assert not rule_on_chance(0.06, needed - 1, n_tests).counts


def test_prompts_without_a_question_are_none(
    loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No change can be put into them, so that all of them would pass."""
    monkeypatch.setattr("gradgate.release.asking.question_of", lambda _: None)
    test = outcome_of(loaded, rows(loaded, 40, "where is town"), 20)
    assert test.outcome == "error"
    assert "0 ordinary prompts" in test.reasons[0]
