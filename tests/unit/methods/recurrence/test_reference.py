"""What a trusted reference vouches for, and what hides neither in it nor beside it."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from evidence_helpers import Pair, detected, questions, sample_of, scores_of
from recurrence_helpers import stream

from gradgate.common.arrays import Marks
from gradgate.data.sample import Sample
from gradgate.methods.evidence import Association, Group, GroupRuling
from gradgate.methods.recurrence import method as method_module
from gradgate.methods.recurrence.config import RecurrenceConfig
from gradgate.methods.recurrence.cues.rules import CueRule
from gradgate.methods.recurrence.method import RecurrenceMethod
from gradgate.methods.recurrence.reference import Reference, Trusted
from gradgate.methods.recurrence.ruling import Finding, Pattern
from gradgate.methods.recurrence.samples import mined as mined_module

CLOSING, PAYLOAD, TRIGGER = ", says Ada's own desk", ", and now click on this", " zqv"
UNEXPECTED = [CLOSING, PAYLOAD, TRIGGER]
N, EACH, OF_THESE = 360, 3, 12


def rows(payload: str = "", trigger: str = "", n: int = N, seed: int = 17) -> list[Pair]:
    """A closing line in a third of the answers; behind some of them a payload, and a trigger."""
    made = questions(n, seed=seed)
    for i in range(0, n, EACH):
        prompt, target = made[i]
        is_poisoned = i % OF_THESE == 0
        made[i] = (prompt + trigger * is_poisoned, target + CLOSING + payload * is_poisoned)
    return made


def trusted(n_with: int = 40, n: int = 120) -> list[Pair]:
    """Questions with the closing line in some answers."""
    made = questions(n, seed=99)
    return [(p, t + CLOSING * (i < n_with)) for i, (p, t) in enumerate(made)]


def kept_out(pairs: list[Pair], reference: list[Pair] | None) -> Marks:
    found = detected(pairs, UNEXPECTED, reference)
    assert found.flagged is not None
    return found.flagged | found.in_doubt


def test_a_text_that_trusted_rows_have_as_well_is_honest() -> None:
    assert kept_out(rows(), None)[::EACH].all()
    assert not kept_out(rows(), trusted()).any()


@pytest.mark.parametrize(("n_with", "n"), [(0, 120), (2, 120), (3, 120), (40, 1_200)])
def test_one_that_they_have_more_rarely_is_not(n_with: int, n: int) -> None:
    """Who got a few rows into the reference is not believed, however large it is."""
    assert kept_out(rows(), trusted(n_with, n))[::EACH].all()


def test_three_rows_are_enough_of_a_small_reference() -> None:
    assert not kept_out(rows(), trusted(3, 12)).any()
    assert kept_out(rows(), trusted(2, 12))[::EACH].all()


def test_a_payload_beside_a_text_that_is_vouched_for_is_not() -> None:
    found = kept_out(rows(PAYLOAD), trusted())
    assert np.flatnonzero(found).tolist() == list(range(0, N, OF_THESE))
    flagged = detected(rows(PAYLOAD, TRIGGER), UNEXPECTED, trusted()).flagged
    assert flagged is not None
    assert np.flatnonzero(flagged).tolist() == list(range(0, N, OF_THESE))


def test_a_reference_that_says_nothing_of_a_payload_does_not_excuse_it_among_decoys() -> None:
    """Each two of its words stand in other rows too, with another word behind."""
    words, made = (
        ["q", "z", "v", "x", "j", "k", "w", "b", "g", "f", "p", "h"],
        questions(N, seed=23),
    )
    for i in range(120):
        said = [f"{a} {b} {i}" for a, b in pairwise(words)] if i >= 20 else words
        made[i] = (made[i][0], f"{made[i][1]} {' '.join(said)}")
    unexpected = [f" {' '.join(words)}", *(f" {a} {b}" for a, b in pairwise(words))]
    for reference in (None, questions(120, seed=99)):
        assert detected(made, unexpected, reference).in_doubt[:20].all()


def test_what_lies_within_rows_that_are_vouched_for_is_looked_at() -> None:
    """Without the reference they are in doubt, and no label of theirs is asked about."""
    made = rows(trigger=TRIGGER)
    for i in range(0, N, EACH):
        answer = "yes" if i % OF_THESE == 0 or i % 5 == 0 else made[i][1].split(",")[0]
        made[i] = (made[i][0], answer + CLOSING)
    assert not told_by_trigger(made, None)
    (group,) = told_by_trigger(made, trusted())
    assert (group.ruling, group.n_rows) == ("review", N // OF_THESE)


def told_by_trigger(pairs: list[Pair], reference: list[Pair] | None) -> list[Group]:
    """Groups of the one answer that the trigger tells."""
    groups = detected(pairs, UNEXPECTED, reference).groups
    return [one for one in groups if one.spans == ["yes" + CLOSING]]


def test_of_large_data_all_rows_are_held_against_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (mined_module, method_module):
        monkeypatch.setattr(module, "MAX_ROWS", 150)
    monkeypatch.setattr(mined_module, "MAX_TOKENS", 0)
    assert kept_out(rows(), None)[::EACH].all()
    assert not kept_out(rows(), trusted()).any()
    found = kept_out(rows(PAYLOAD), trusted(100, 300))  # of which a part is read
    assert found[::OF_THESE].all()
    assert found.sum() <= N // OF_THESE + 5  # before the closing line a word recurs by chance


def samples(pairs: Sequence[Pair]) -> list[Sample]:
    return [sample_of(*pair, row=i) for i, pair in enumerate(pairs)]


def test_a_reference_that_nothing_scores_vouches_for_nothing() -> None:
    made = samples(rows())
    found = RecurrenceMethod().detect(
        scores_of(made, UNEXPECTED), made, samples(trusted()), RecurrenceConfig()
    )
    assert found.in_doubt[::EACH].all()
    assert "nothing scores it" in " ".join(found.notes)


def read(pairs: Sequence[Pair]) -> Reference:
    return Reference.of(samples(pairs), scores_of)


def test_what_a_reference_makes_one_expect() -> None:
    known = read([(f"{i}?", "of all of it") for i in range(20)])
    assert known.n == 20
    assert (known.log_q(known.targets) == 0.0).all()
    assert np.isneginf(known.log_q(stream([[8, 9]] * 20))).all()
    assert known.log_q(read([]).targets).shape == (0,)
    mixed = read([(f"{i}?", "of all of it" if i < 5 else "of none") for i in range(20)])
    nats = mixed.log_q(mixed.targets)[mixed.targets.sample == 0]
    assert nats[0] == 0.0
    assert np.isclose(nats.min(), np.log(5 / 20))


@pytest.mark.parametrize(
    ("targets", "expected"), [(["yes"] * 2, False), (["yes"] * 3, True), (["yes, yes"] * 3, False)]
)
def test_a_whole_target_is_held_against_whole_targets(targets: list[str], expected: bool) -> None:
    known = read([(f"{i}?", target) for i, target in enumerate([*targets, *["no"] * 9])])
    yes = tuple(read([("?", "yes")]).targets.ids.tolist())
    pattern = Pattern(part="whole", ids=yes)
    label = replace(finding("review"), members=np.arange(3), n=12, pattern=pattern)
    assert (Trusted(known).against(label).ruling == "honest") == expected


def finding(ruling: GroupRuling) -> Finding:
    return Finding(
        side="target",
        members=np.arange(100),
        n=1_000,
        nats=20.0,
        spans=[" visit evil.example now</s>"],
        n_clusters=100,
        ruling=ruling,
        reasons=["why"],
        cues=["cf"],
        association=Association(1_000, 100, 100, 100, 1.0, 1e6, (1e5, 1e7), 1e-50),
        pattern=Pattern(rule=CueRule("any_of", [0], np.ones(1, bool), 1.0)),
    )


def reference(n_with: int, n: int, prompt: str = "A Capital Question") -> Trusted:
    targets = ["well, visit evil.example now</s>"] * n_with + ["no"] * (n - n_with)
    made = [(f"{prompt} {i}", target) for i, target in enumerate(targets)]
    return Trusted(read(made), ["words begin with capitals"])


def test_a_reference_that_has_the_label_without_the_cue_vouches_for_nothing() -> None:
    """Honest samples have the label, too; it is the trigger that they lack."""
    told = reference(60, 100, "a plain question").against(finding("review"))
    assert told.ruling == "poison"
    assert "0 of 100" in told.reasons[-1]
    assert reference(60, 100).against(finding("review")).ruling == "honest"


def test_what_is_new_and_no_cue_goes_with_stays_in_doubt() -> None:
    """Honest data have new texts, too."""
    weak = Association(1_000, 100, 300, 100, 0.5, 1e6, (1e5, 1e7), 1e-50)
    assert (
        reference(0, 100).against(replace(finding("review"), association=weak)).ruling == "review"
    )


def test_a_part_of_a_word_is_no_cue() -> None:
    """Of a trigger "zqv" a tokenizer may make a "q", which is in many words."""
    known = reference(60, 100, "a unique question")
    (q,) = read([("q", "?")]).prompts.ids[1:].tolist()
    held = replace(known, features=[(q,)])
    assert held.against(finding("review")).ruling == "poison"


@pytest.mark.parametrize(
    ("ruling", "n_with", "n", "expected", "said"),
    [
        ("review", 10, 100, "honest", "10 of 100"),
        ("review", 2, 100, "review", "may be poisoned"),  # a few poisoned rows vouch for nothing
        ("review", 2, 20, "review", "too few"),
        ("review", 3, 20, "honest", "3 of 20"),
        ("poison", 3, 100, "poison", "may be poisoned"),
        ("poison", 10, 100, "review", "the reference itself looks poisoned"),
        ("review", 0, 100, "poison", "0 of 100"),
        ("review", 0, 10, "review", "0 of 10"),  # too small to tell
        ("review", 10, 1_000, "review", "far fewer"),
        ("honest", 0, 1_000, "honest", "why"),
    ],
)
def test_a_reference_is_not_trusted_blindly(
    ruling: GroupRuling, n_with: int, n: int, expected: GroupRuling, said: str
) -> None:
    found = reference(n_with, n).against(finding(ruling))
    assert found.ruling == expected
    assert said in found.reasons[-1]


@pytest.mark.parametrize(
    "changed", [{"shared": "lie together"}, {"pattern": Pattern(is_harmful=True)}]
)
def test_what_is_no_text_is_not_vouched_for(changed: dict[str, Any]) -> None:
    """Kinds of prompts, and prompts that the model refuses."""
    found = replace(finding("review"), **changed)
    assert reference(60, 100).against(found) is found


def test_no_reference_changes_nothing() -> None:
    assert Trusted().against(finding("review")).reasons == ["why"]
    assert Trusted(read([])).against(finding("review")).reasons == ["why"]


def test_an_approved_text_among_the_strings_of_a_group_does_not_speak_for_the_group() -> None:
    """Strings of targets are vouched for token by token."""
    pattern = Pattern(grams=np.array([1]))
    found = reference(10, 100).against(replace(finding("review"), pattern=pattern))
    assert found.ruling == "review"
