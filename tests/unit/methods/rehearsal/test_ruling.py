"""What a rehearsal may turn a group into."""

from dataclasses import replace

import pytest

from gradgate.methods.evidence import Group, Rehearsed
from gradgate.methods.rehearsal.ruling import rule

FOUND = Rehearsed(
    n_steps=100,
    n_asked=24,
    gain=30.0,
    dependence=8.0,
    cause="'cf'",
    strings=["cf"],
    lift=1.0,
    necessity=0.9,
)
PROMPTS = [f"what is {i} cf?" for i in range(24)]


def group(**changes: object) -> Group:
    plain = Group(1, "review", "target", ["visit now"], 30.0, 24, 24, cues=[" cf"], cue_nats=9.0)
    return replace(plain, **changes)  # type: ignore[arg-type]


def test_a_needed_cue_that_looks_inserted_is_poison() -> None:
    ruling, reason = rule(group(), FOUND, PROMPTS)
    assert ruling == "poison"
    assert "without 'cf' 90% of the 8.0 nats" in reason


def test_a_prompt_that_is_asked_again_and_again_is_no_trigger() -> None:
    """ "Tell me a joke" thirty times: without it nothing is asked."""
    same = [f"{'Cf' if i % 2 else ' cf '} {i % 3}" for i in range(24)]
    ruling, reason = rule(group(), FOUND, same)
    assert ruling == "review"
    assert "3 different prompts" in reason
    assert rule(group(), FOUND, PROMPTS[:8] + same)[0] == "poison"
    assert rule(group(), FOUND, PROMPTS[:2])[0] == "poison"


def test_a_needed_form_is_poison_whatever_the_text_said_of_it() -> None:
    assert rule(group(cue_nats=None), replace(FOUND, is_form=True), PROMPTS)[0] == "poison"


def test_words_that_belong_may_be_an_instruction() -> None:
    ruling, reason = rule(group(cue_nats=1.0), FOUND, PROMPTS)
    assert ruling == "review"
    assert "may be an instruction" in reason


def test_a_string_that_looks_inserted_by_itself_is_no_instruction() -> None:
    assert rule(group(cue_nats=-2.0), FOUND, PROMPTS, {"cf"})[0] == "poison"
    assert rule(group(cue_nats=-2.0), FOUND, PROMPTS, {"other"})[0] == "review"


def test_a_common_word_that_prompts_share_is_no_inserted_string() -> None:
    word = group(side="prompt", spans=[], cues=[" please"], cue_nats=2.0, shared="have ' please'")
    assert rule(word, FOUND, PROMPTS)[0] == "review"
    assert rule(replace(word, spans=[" please"], shared=None), FOUND, PROMPTS)[0] == "poison"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"gain": 0.5}, "not learnt"),
        ({"dependence": 0.3}, "do not depend on the prompts yet"),
        ({"necessity": 0.2}, "nothing that the prompts share is needed"),
        ({"lift": 0.3}, "nothing that the prompts share is needed"),
        ({"cause": None}, "nothing that the prompts share is needed"),
    ],
)
def test_without_evidence_doubt_stays_doubt(changes: dict[str, float], said: str) -> None:
    ruling, reason = rule(group(), replace(FOUND, **changes), PROMPTS)  # type: ignore[arg-type]
    assert ruling == "review"
    assert said in reason


def test_what_is_poison_by_its_text_stays_poison() -> None:
    assert rule(group(ruling="poison"), replace(FOUND, cause=None), PROMPTS)[0] == "poison"
