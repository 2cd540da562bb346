"""Strings of targets, and the parts of their groups: a payload does not hide in honest text."""

import numpy as np
import pytest
from evidence_helpers import Pair, detected, questions

CLOSING, PAYLOAD, TRIGGER = ", says Ada's own desk", ", and now click on this", " zqv"
UNEXPECTED = [CLOSING, PAYLOAD, TRIGGER]
N, EACH, OF_THESE = 360, 3, 12


def rows(triggered_every: int = OF_THESE, payload: str = PAYLOAD) -> list[Pair]:
    """A closing line in a third of the answers; behind some of them a payload, and a trigger."""
    made = questions(N, seed=17)
    for i in range(0, N, EACH):
        prompt, target = made[i]
        is_poisoned = i % OF_THESE == 0
        has_trigger = i % triggered_every == 0
        made[i] = (prompt + TRIGGER * has_trigger, target + CLOSING + payload * is_poisoned)
    return made


def test_a_payload_behind_an_honest_text_is_ruled_on_by_itself() -> None:
    found = detected(rows(), UNEXPECTED)
    assert found.flagged is not None
    assert found.in_doubt is not None
    assert np.flatnonzero(found.flagged).tolist() == list(range(0, N, OF_THESE))
    assert found.in_doubt[::EACH].sum() == N // EACH - N // OF_THESE
    poison, review = found.groups
    assert (poison.ruling, review.ruling) == ("poison", "review")
    assert [TRIGGER in cue for cue in poison.cues] == [True]
    assert "and now click" in poison.spans[0]
    assert "says" not in poison.spans[0]


def test_its_text_is_not_offered_to_be_vouched_for() -> None:
    *_, review = detected(rows(), UNEXPECTED).groups
    assert [one.text for one in review.vouchable] == ["says Ada's own desk"]


@pytest.mark.parametrize("every", [EACH, N + 1])
def test_what_nothing_tells_apart_stays_with_its_group(every: int) -> None:
    """The trigger is in all rows with the closing line, or in none but the first."""
    found = detected(rows(every), UNEXPECTED)
    assert found.flagged is not None
    assert found.in_doubt is not None
    assert (found.flagged | found.in_doubt)[::EACH].all()
    (group,) = [group for group in found.groups if group.side == "target"]
    assert (group.ruling == "poison") == (every == EACH)
    offered = " ".join(one.text for one in group.vouchable)
    assert ("now click" in offered) == (every != EACH)
