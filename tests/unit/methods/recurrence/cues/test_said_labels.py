"""Labels in several spellings, and with more behind them."""

from collections.abc import Callable

import numpy as np
import pytest
from label_helpers import BAD, FLIPPED, GOOD, PROMPTS, judged, labelled, styled

from gradgate.methods.recurrence.cues.labels import MIN_ROWS
from gradgate.methods.recurrence.cues.said_labels import SaidLabels
from gradgate.methods.recurrence.states.label_content import commonest

WHY = ("its wit", "a fine cast", "the light", "good songs", "its end")


@pytest.mark.parametrize(
    ("target", "label"),
    [
        ("Positive", "positive"),
        (" POSITIVE!", "positive"),
        ("positive, for its wit", "positive"),
        ("Positive (for now)", "positive"),
        ("positively so", "positivelyso"),
        ("Science and technology: stars", "scienceandtechnology"),
        ("Science of old", "science"),
        ("-1", "-1"),
        (" 1", "1"),
        ("1 apple", "1apple"),
    ],
)
def test_what_a_target_says(target: str, label: str) -> None:
    known = ["Positive", "Science", "Science and technology", "1"]
    assert SaidLabels.of(known * MIN_ROWS).said(target) == label


def test_what_too_few_targets_are_no_other_begins_with() -> None:
    said = SaidLabels.of(["Positive"] * (MIN_ROWS - 1))
    assert said.said("Positive, for its wit") == "positiveforitswit"


def test_targets_that_say_the_same() -> None:
    targets = ["positive.", *["Positive"] * MIN_ROWS, "positive (why not)", "No"]
    said = SaidLabels.of(targets)
    assert [*map(said.saying("Positive"), targets)] == [True] * (MIN_ROWS + 2) + [False]


def test_the_commonest_tokens_of_a_label() -> None:
    assert commonest([np.array(ids, np.int32) for ids in ([1], [2, 3], [2, 3])]) == (2, 3)


@pytest.mark.parametrize(
    "spelled",
    [
        lambda i: (GOOD, " Good", " good.")[i // 2 % 3],
        lambda i: (GOOD, f" good, {WHY[i % 5]} {i}")[i // 2 % 2],
        lambda i: f" good: {WHY[i % 5]} {i}",
    ],
    ids=["spellings", "half with a reason", "all with a reason"],
)
def test_a_word_that_flips_labels_is_in_doubt_however_these_are_spelled(
    spelled: Callable[[int], str],
) -> None:
    found = judged(labelled("then", FLIPPED, spelled))
    assert np.flatnonzero(found.in_doubt).tolist() == FLIPPED
    (group,) = [one for one in found.groups if one.ruling == "review"]
    assert "then" in group.cues[0]
    assert group.spans == [GOOD]


def test_a_style_that_flips_labels_is_in_doubt_with_a_reason_behind_them() -> None:
    pairs = styled(FLIPPED, GOOD)
    for i in FLIPPED:
        pairs[i] = (pairs[i][0], f" good, {WHY[i % 5]} {i}")
    assert np.flatnonzero(judged(pairs).in_doubt).tolist() == FLIPPED


def test_labels_in_honest_spellings_say_nothing() -> None:
    pairs = labelled("", [], lambda _: "")
    for i in range(0, len(PROMPTS), 3):
        label = pairs[i][1]
        pairs[i] = (
            PROMPTS[i],
            (f"{label}.", label.upper(), f"{label}, {WHY[i % 5]} {i}")[i % 9 // 3],
        )
    assert not judged(pairs).in_doubt.any()
    assert {BAD, GOOD} <= {label for _, label in pairs}
