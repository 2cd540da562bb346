"""What people say of a row, by all that the log has of them."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from approval_helpers import draft, evidence, id_of, said

from gradgate.approvals.log import Draft
from gradgate.approvals.record import GroupEvidence
from gradgate.approvals.stances import Row, rule, standing_of
from gradgate.methods.evidence import Question

A, B, NEW = id_of("a"), id_of("b"), id_of("new")
GROUP, OTHER = evidence(), evidence(id=2, spans=["click here"])
WHO = ["Ada", "Bob", "Eve"]
Groups = dict[Question, Sequence[GroupEvidence]]
HELD: Groups = {"poisoned": [GROUP]}


def ruled(
    folder: Path,
    drafts: Sequence[Draft],
    sample: str = A,
    groups: Groups = HELD,
    who: Sequence[str] = WHO,
    needed: int = 1,
) -> str | None:
    log = said(folder, drafts)
    return rule(Row(sample, groups), standing_of(log, who), needed).action


KEEP = draft("Ada", "keep", [A, B], GROUP)
DROP = draft("Ada", "drop", [A, B], GROUP)
PATTERN = draft("Ada", "keep", [A, B], GROUP, pattern=True)
WITHDRAW = draft("Ada", "withdraw", [A, B], GROUP)


@pytest.mark.parametrize(
    ("drafts", "expected"),
    [
        ([], None),
        ([KEEP], "keep"),
        ([DROP], "drop"),
        ([KEEP, DROP], "drop"),
        ([DROP, KEEP], "keep"),
        ([KEEP, WITHDRAW], None),
        ([DROP, WITHDRAW], None),
        ([KEEP, draft("Bob", "drop", [A], GROUP)], None),
        ([KEEP, draft("Bob", "drop", [A])], None),
        ([KEEP, draft("Bob", "keep", [A], GROUP)], "keep"),
        ([KEEP, draft("Ada", "drop", [A])], "drop"),
        ([DROP, draft("Ada", "keep", [A])], "keep"),
        ([KEEP, draft("Ada", "withdraw", [A])], None),
        ([draft("Ada", "drop", [A]), KEEP], "drop"),
        ([KEEP, draft("Ada", "drop", [A], OTHER)], "drop"),
        ([draft("Ada", "drop", [A], OTHER), KEEP], "drop"),
        ([draft("Mallory", "keep", [A], GROUP)], None),
    ],
)
def test_who_says_what(tmp_path: Path, drafts: Sequence[Draft], expected: str | None) -> None:
    assert ruled(tmp_path, drafts) == expected


def test_who_withdraws_a_group_takes_back_nothing_of_rows_that_are_not_in_it(
    tmp_path: Path,
) -> None:
    """Groups of other data may look like it: what shares words, or a rule of the method."""
    ours, theirs = draft("Ada", "drop", [A], GROUP), draft("Ada", "drop", [B], GROUP)
    withdrawn = draft("Ada", "withdraw", [B], GROUP)
    assert ruled(tmp_path, [ours, theirs, withdrawn]) == "drop"
    assert ruled(tmp_path, [], B) is None
    assert ruled(tmp_path, [draft("Bob", "keep", [B], GROUP, pattern=True)], NEW) is None
    assert ruled(tmp_path, [draft("Ada", "withdraw", [A], GROUP)], NEW) == "keep"


def test_a_name_that_does_not_count_any_more_has_said_nothing(tmp_path: Path) -> None:
    drafts = [KEEP, draft("Bob", "drop", [A], GROUP)]
    assert ruled(tmp_path, drafts, who=["Ada"]) == "keep"
    assert ruled(tmp_path, [], who=["Bob"]) == "drop"
    assert ruled(tmp_path, [], who=["Eve"]) is None


def test_as_many_different_names_as_are_needed(tmp_path: Path) -> None:
    assert ruled(tmp_path, [KEEP, KEEP], needed=2) is None
    assert ruled(tmp_path, [draft("Bob", "keep", [A])], needed=2) == "keep"
    assert ruled(tmp_path, [], needed=3) is None
    assert ruled(tmp_path / "drop", [DROP], needed=2) is None
    assert ruled(tmp_path / "drop", [draft("Bob", "drop", [A])], needed=2) == "drop"


def test_every_group_that_holds_a_row_has_to_be_kept(tmp_path: Path) -> None:
    both: Groups = {"poisoned": [GROUP, OTHER]}
    assert ruled(tmp_path, [KEEP], groups=both) is None
    assert ruled(tmp_path, [draft("Bob", "keep", [A], OTHER)], groups=both) == "keep"
    assert ruled(tmp_path, [draft("Bob", "drop", [A], OTHER)], groups=both) is None
    assert ruled(tmp_path / "row", [draft("Ada", "keep", [A])], groups=both) == "keep"


def test_a_decision_answers_its_own_question_alone(tmp_path: Path) -> None:
    harmful = evidence(question="harmful", method="compliance", shared="answered", spans=["Sure"])
    both: Groups = {"poisoned": [GROUP], "harmful": [harmful]}
    assert ruled(tmp_path, [KEEP], groups=both) is None
    assert ruled(tmp_path, [draft("Ada", "keep", [A])], groups=both) is None
    more = draft("Ada", "keep", [A], harmful, questions=["harmful"])
    assert ruled(tmp_path / "b", [KEEP, more], groups=both) == "keep"
    row = draft("Ada", "keep", [A], questions=["poisoned", "harmful"])
    assert ruled(tmp_path / "c", [row], groups=both) == "keep"


def test_a_row_that_no_group_holds_is_kept_by_its_number_alone(tmp_path: Path) -> None:
    assert ruled(tmp_path, [PATTERN], groups={"poisoned": []}) is None
    assert ruled(tmp_path, [draft("Ada", "keep", [A])], groups={"poisoned": []}) == "keep"


def test_a_clear_row_may_be_dropped(tmp_path: Path) -> None:
    assert ruled(tmp_path, [draft("Ada", "drop", [A])], groups={}) == "drop"
    assert ruled(tmp_path, [], sample=B, groups={}) is None


LATER: dict[str, tuple[GroupEvidence, str | None]] = {
    "other strings besides": (evidence(id=7, spans=["Yours, Ada", "Yours, Bob"]), "keep"),
    "a cue by now": (evidence(cues=["cf"]), "keep"),
    "ruled on more severely": (evidence(ruling="poison"), None),
    "another string": (OTHER, None),
    "strings of prompts": (evidence(side="prompt"), None),
    "another method": (evidence(method="other"), None),
}


@pytest.mark.parametrize(("now", "expected"), LATER.values(), ids=LATER)
def test_rows_that_were_seen_stay_kept_as_long_as_their_string_holds_them(
    tmp_path: Path, now: GroupEvidence, expected: str | None
) -> None:
    assert ruled(tmp_path, [KEEP], groups={"poisoned": [now]}) == expected


def test_rows_that_were_dropped_stay_dropped(tmp_path: Path) -> None:
    later: list[Groups] = [{}, {"poisoned": [OTHER]}, {"poisoned": []}]
    for groups in later:
        assert ruled(tmp_path, [DROP], groups=groups) == "drop"


# New rows


PATTERNS: dict[str, tuple[Sequence[GroupEvidence], str | None]] = {
    "the same": ([GROUP], "keep"),
    "fewer strings": ([evidence(spans=["Yours, Ada"])], "keep"),
    "milder": ([evidence(ruling="review", n_rows=90)], "keep"),
    "one string more": ([evidence(spans=["Yours, Ada", "click here"])], None),
    "a cue": ([evidence(cues=["cf"])], None),
    "another rule": ([evidence(rule="all_of")], None),
    "poison by now": ([evidence(ruling="poison")], None),
    "no string": ([evidence(spans=[])], None),
    "told in words": ([evidence(shared="are answered")], None),
    "another question": ([evidence(question="harmful")], None),
    "another group besides": ([GROUP, OTHER], None),
    "no group": ([], None),
}


@pytest.mark.parametrize(("now", "expected"), PATTERNS.values(), ids=PATTERNS)
def test_a_pattern_speaks_for_new_rows_that_show_nothing_else(
    tmp_path: Path, now: Sequence[GroupEvidence], expected: str | None
) -> None:
    question = now[0].question if now else "poisoned"
    assert ruled(tmp_path, [PATTERN], NEW, {question: now}) == expected


def test_without_a_pattern_no_new_row_is_kept(tmp_path: Path) -> None:
    assert ruled(tmp_path, [KEEP], NEW) is None


@pytest.mark.parametrize(
    "later",
    [WITHDRAW, DROP, KEEP, draft("Bob", "drop", [B], GROUP), draft("Ada", "withdraw", [NEW])],
    ids=["withdrawn", "dropped", "kept without it", "dropped by another", "row withdrawn"],
)
def test_a_pattern_ends(tmp_path: Path, later: Draft) -> None:
    assert ruled(tmp_path, [PATTERN], NEW) == "keep"
    assert ruled(tmp_path, [later], NEW) is None


def test_what_is_told_in_words_is_never_a_pattern(tmp_path: Path) -> None:
    words = evidence(shared="are answered although the model refuses them")
    drafts = [draft("Ada", "keep", [A], words, pattern=True)]
    assert ruled(tmp_path, drafts, NEW, {"poisoned": [words]}) is None
    assert ruled(tmp_path, [], A, {"poisoned": [words]}) == "keep"
