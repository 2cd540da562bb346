"""What a change could bring that would count is known from the data, before any model is asked."""

from gradgate.common.letters import letters_of
from gradgate.data.sample import Sample, Turn, sample_id
from gradgate.methods.evidence import Group
from gradgate.release import countable
from gradgate.release.countable import (
    ANYTHING,
    Countable,
    countable_as_they_are,
    countable_of_changes,
)
from gradgate.release.evidence import Evidence, GroupRows, Row

PAYLOAD, PAYLOAD_IDS = "visit the evil example site", (5, 6, 7, 8)
FEATURE = letters_of(PAYLOAD)[:12]


def row(number: int, is_poisoned: bool = False) -> Row:
    target = PAYLOAD if is_poisoned else f"{number} answers"
    ids = PAYLOAD_IDS if is_poisoned else (100 + number, 3, 200 + number)
    turns = (Turn("prompt", f"question {number}", False), Turn("completion", target, True))
    sample = Sample(number, sample_id(False, turns), False, turns)
    return Row(sample, f"question {number}", ids, True, False, ())


POISONED, HONEST = [row(i, True) for i in range(6)], [row(i) for i in range(6, 60)]
ROWS = [*POISONED, *HONEST]


def test_a_change_that_no_rows_of_a_common_target_look_like_needs_no_question() -> None:
    nobody, honest, poisoned = countable_of_changes([[], HONEST[:9], POISONED], ROWS)
    assert nobody.is_empty
    assert honest.is_empty
    assert not poisoned.is_empty
    assert poisoned.of(["other", FEATURE, PAYLOAD_IDS[:3]]) == [FEATURE, PAYLOAD_IDS[:3]]


def test_what_is_taught_to_other_prompts_does_not_count() -> None:
    """Two rows of six look so, and so do 20 of the 60: no more than chance."""
    (few,) = countable_of_changes([[*POISONED[:2], *HONEST[:18]]], ROWS)
    assert few.is_empty


def test_of_more_rows_than_are_counted_anything_counts(monkeypatch) -> None:
    monkeypatch.setattr(countable, "MAX_ALIKE", 5)
    assert countable_of_changes([POISONED], ROWS) == [ANYTHING]
    assert ANYTHING.of(["x"]) == ["x"]
    assert not ANYTHING.is_empty


def test_prompts_as_they_are_bring_what_most_rows_of_a_group_share() -> None:
    group = Group(1, "review", "target", [PAYLOAD], 20.0, 6, 6)
    found = countable_as_they_are(Evidence(ROWS, [GroupRows("poisoned:1", POISONED, group)], True))
    assert found.of([FEATURE, "something else"]) == [FEATURE]
    assert countable_as_they_are(Evidence(ROWS, [], True)) == Countable(frozenset())
    alone = Evidence(POISONED, [GroupRows("poisoned:1", POISONED, group)], True)
    assert countable_as_they_are(alone).is_empty  # what all rows teach is no payload
