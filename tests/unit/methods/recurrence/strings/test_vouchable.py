"""What an owner is offered to vouch for: what does not change, and nothing that is poison."""

from dataclasses import replace

import numpy as np
import pytest
from recurrence_helpers import stream

from gradgate.methods.evidence import Association, GroupRuling, Vouchable
from gradgate.methods.recurrence.ruling import Finding, Pattern
from gradgate.methods.recurrence.strings.surprise import Segments
from gradgate.methods.recurrence.strings.vouchable import (
    MAX_TEXTS,
    FixedTexts,
    _in_whole_words,
    of_label,
    of_strings,
)

WORDS = ['"amount":', ' "plan":', " null", "}", "Pro"]
PIECES = [*WORDS, *(f" {1000 + i}," for i in range(60))]


def offered(rows: list[list[int]], members: range) -> list[str]:
    """The texts that are offered of some rows, whose whole targets surprise."""
    targets = stream(rows)
    starts = np.searchsorted(targets.sample, np.arange(len(rows)))
    stops = np.searchsorted(targets.sample, np.arange(len(rows)), side="right")
    fixed = FixedTexts(targets, lambda ids: "".join(PIECES[i] for i in ids.tolist()))
    whole = Segments(np.arange(len(rows)), np.full(len(rows), 20.0), starts, stops)
    found = fixed.of(whole.among(np.array(members)))
    for text, has in found:
        having = [i for i in members if text in "".join(PIECES[j] for j in rows[i])]
        assert np.flatnonzero(has).tolist() == having
    return [text for text, _ in found]


def test_keys_are_offered_and_what_they_hold_is_not() -> None:
    rows = [[0, 5 + i, 1, 2, 3] for i in range(40)]
    assert offered(rows, range(40)) == ['"amount":', '"plan": null}']


def test_a_text_that_few_of_the_group_have_is_not_offered() -> None:
    rows = [[0, 5 + i, 1, 2, 3] if i < 2 else [1, 2, 3] for i in range(60)]
    assert offered(rows, range(60)) == ['"plan": null}']


def test_of_longer_texts_only_what_is_new_is_offered() -> None:
    rows = [[0, 1, 2, 3] if i < 20 else [1, 2, 3] for i in range(60)]
    assert offered(rows, range(60)) == ['"plan": null}', '"amount":']


def test_a_bare_word_is_in_much_else_and_not_offered() -> None:
    rows = [[2, 5 + i, 4] for i in range(40)]
    assert offered(rows, range(40)) == []


def test_segments_of_one_token_have_nothing_in_common() -> None:
    assert offered([[5 + i % 3] for i in range(40)], range(40)) == ["1000,", "1001,", "1002,"]


def test_what_mostly_others_have_would_cover_too_much() -> None:
    rows = [[0, 1, 2, 3] if i < 20 else [5 + i, 1] if i < 41 else [5 + i] for i in range(60)]
    assert offered(rows, range(20)) == ['"amount": "plan": null}']
    rows = [[0, 5 + i, 1, 3] if i < 20 else [5 + i, 1, 3] if i < 41 else [4] for i in range(60)]
    assert offered(rows, range(20)) == ['"amount":']


def test_a_part_of_a_word_is_shown_as_the_word_where_it_is_the_same() -> None:
    assert _in_whole_words("ays Ada's des", ["He says Ada's desk."] * 9 + ["Rays Ada's desk"]) == (
        "says Ada's desk"
    )
    other = ["He says Ada's desk."] * 8 + ["Rays Ada's desk"] * 2
    assert _in_whole_words("ays Ada's des", other) == "ays Ada's des"
    assert _in_whole_words("ays", []) == "ays"


def test_parts_of_characters_are_no_text() -> None:
    """What a tokenizer parts reads as another text by itself, which is in no target."""
    rows = [[0, 1, 2] for _ in range(40)]
    targets = stream(rows)
    starts = 3 * np.arange(40)
    read = {3: "whole", 2: "part\ufffd of it"}
    segments = Segments(np.arange(40), np.full(40, 20.0), starts, starts + 2)
    assert FixedTexts(targets, lambda ids: read[len(ids)]).of(segments) == []


def test_the_list_is_one_that_a_person_reads() -> None:
    assert len(of_strings([f"text {i}" for i in range(99)])) == MAX_TEXTS


@pytest.mark.parametrize(
    ("label", "is_whole", "texts"),
    [
        ("positive", True, []),  # it may be flipped
        (" New York City", True, []),
        ("SELECT COUNT", False, ["SELECT COUNT"]),
        ("I cannot help with that.", True, ["I cannot help with that."]),
        (" )}", False, []),
        ("x" * 501, False, []),
    ],
)
def test_a_whole_answer_is_offered_unless_it_may_be_a_label(
    label: str, is_whole: bool, texts: list[str]
) -> None:
    assert of_label(label, is_whole) == texts


def finding(pattern: Pattern, ruling: GroupRuling = "review") -> Finding:
    return Finding(
        side="target",
        members=np.arange(9),
        n=99,
        nats=20.0,
        spans=[" Yours, Ada", "Ada 7"],
        n_clusters=9,
        ruling=ruling,
        reasons=[],
        cues=["form: capitals", " sincerely"],
        pattern=pattern,
    )


@pytest.mark.parametrize(
    ("pattern", "texts"),
    [
        (Pattern(), ["Yours, Ada", "Ada 7"]),
        (Pattern(is_cue=True), ["sincerely"]),
        (Pattern(part="head"), ["Yours, Ada"]),
        (Pattern(part="whole"), []),
        (Pattern(is_harmful=True), []),
    ],
)
def test_what_is_offered_is_what_the_group_is_held_together_by(
    pattern: Pattern, texts: list[str]
) -> None:
    assert [one.text for one in finding(pattern).vouchable] == texts
    assert finding(pattern, "poison").vouchable == []
    assert finding(pattern, "honest").vouchable == []
    fixed = [Vouchable("Yours", 9, [" sincerely"])]
    assert replace(finding(Pattern()), fixed=fixed).vouchable == fixed


@pytest.mark.parametrize(("phi", "cues"), [(0.79, []), (0.81, ["form: capitals", " sincerely"])])
def test_who_has_a_text_is_told_by_what_goes_with_it_tightly(phi: float, cues: list[str]) -> None:
    table = Association(99, 9, 9, 9, phi, 1e6, (1e5, 1e7), 1e-9)
    found = replace(finding(Pattern()), association=table).vouchable
    assert [(one.n_samples, one.cues) for one in found] == [(9, cues)] * 2
