"""Groups in doubt that models trained on a reference contradict no more than the reference."""

from dataclasses import replace

import numpy as np
import pytest

from gradgate.common.arrays import Floats, Ints, Marks
from gradgate.methods.contract import Detection
from gradgate.methods.evidence import Group, Side
from gradgate.methods.rehearsal.clearing import cleared as cleared_where
from gradgate.methods.rehearsal.clearing import knows_targets, p_as_reference
from gradgate.methods.rehearsal.contradictions import Contradictions
from gradgate.methods.rehearsal.predicting import Contradicted

N, M = 120, 150
RNG = np.random.default_rng(2)
USUAL: Floats = RNG.normal(-1.0, 2.0, N)  # of rows
OF_REFERENCE: Floats = RNG.normal(-1.0, 2.0, M)


def predicted(nats: Floats) -> Contradicted:
    return replace(Contradicted.none(len(nats)), nats=nats)


def said(rows: Floats, exchanged: float = 12.0) -> Contradictions:
    """Of the rows; the targets of others are contradicted by so many nats more."""
    reference = predicted(OF_REFERENCE)
    return Contradictions(reference, predicted(OF_REFERENCE + exchanged), predicted(rows))


def group(number: int, members: Ints, shared: str | None = None, side: Side = "prompt") -> Group:
    return Group(
        id=number,
        ruling="review",
        side=side,
        spans=[f" Lane {number}"],
        nats=12.0,
        n_rows=len(members),
        n_independent=len(members),
        shared=shared,
    )


def doubted(*members: Ints, shared: str | None = None, side: Side = "prompt") -> Detection:
    """Rows in groups in doubt; the first group of a row is its own."""
    groups = [group(i, rows, shared, side) for i, rows in enumerate(members, start=1)]
    marks = {i: np.isin(np.arange(N), rows) for i, rows in enumerate(members, start=1)}
    of_row = np.zeros(N, np.int64)
    for i in sorted(marks, reverse=True):
        of_row[marks[i]] = i
    lines = {one.id: one.in_a_line() for one in groups}
    return Detection(
        suspicion=np.zeros(N),
        flagged=np.zeros(N, bool),
        in_doubt=of_row > 0,
        group=of_row,
        groups=groups,
        members=marks,
        reasons={i: [lines[g]] for i, g in enumerate(of_row.tolist()) if g},
        notes=[*lines.values(), "a note"],
    )


ALL = np.arange(N)
EVERY = np.ones(N, bool)


def cleared(
    found: Detection, rows: Ints, said: Contradictions, may_go: Marks = EVERY
) -> tuple[Detection, Marks]:
    return cleared_where(found, rows, said, may_go)


FIRST, SECOND = np.arange(30), np.arange(20, 45)


def test_a_group_that_is_as_the_reference_is_honest_and_its_rows_are_let_go() -> None:
    rows = np.minimum(USUAL, 2.0)
    found, stay = cleared(doubted(FIRST), ALL, said(rows))
    assert [one.ruling for one in found.groups] == ["honest"]
    assert "no more than samples of the reference" in found.groups[0].reasons[-1]
    assert not found.in_doubt.any()
    assert (found.reasons, found.notes) == ({}, ["a note"])
    assert not stay.any()


@pytest.mark.parametrize("n", [30, 15, 4])
def test_a_group_of_which_a_part_is_contradicted_stays_in_doubt_whole(n: int) -> None:
    rows = USUAL.copy()
    rows[:n] += 9.0
    before = doubted(FIRST)
    found, stay = cleared(before, ALL, said(rows))
    assert [one.ruling for one in found.groups] == ["review"]
    assert "more than samples of the reference" in found.groups[0].reasons[-1]
    assert np.array_equal(found.in_doubt, before.in_doubt)
    assert found.reasons == before.reasons
    assert not stay.any()


def test_single_rows_that_are_contradicted_stay_in_doubt_in_a_group_that_is_cleared() -> None:
    rows = np.minimum(USUAL, 2.0)
    rows[3] = 15.0
    found, stay = cleared(doubted(FIRST), ALL, said(rows))
    assert found.groups[0].ruling == "honest"
    assert np.flatnonzero(stay).tolist() == [3]


def test_rows_of_two_groups_are_let_go_where_both_are_cleared() -> None:
    rows = np.minimum(USUAL, 2.0)
    rows[35:45] += 9.0  # of the second alone
    found, _ = cleared(doubted(FIRST, SECOND), ALL, said(rows))
    assert [one.ruling for one in found.groups] == ["honest", "review"]
    assert np.array_equal(np.flatnonzero(found.in_doubt), SECOND)
    line = found.groups[1].in_a_line()
    assert all(found.reasons[i] == [line] and found.group[i] == 2 for i in SECOND.tolist())
    assert found.notes == [line, "a note"]


def test_nothing_is_cleared_by_models_that_would_not_contradict_other_targets() -> None:
    """As where all targets are alike, or so short a training has not learnt the task."""
    given = said(USUAL, exchanged=1.0)
    assert not knows_targets(given)
    found, stay = cleared(doubted(FIRST), ALL, given)
    assert found.groups[0].ruling == "review"
    assert found.in_doubt[FIRST].all()
    assert not stay.any()


def test_only_strings_of_prompts_with_some_samples_are_asked_about() -> None:
    """What targets share may have been learnt from a reference that is poisoned as well."""
    of_targets = doubted(FIRST, side="target")
    for before in (doubted(FIRST, shared="have the same targets"), doubted(FIRST[:7]), of_targets):
        found, _ = cleared(before, ALL, said(np.minimum(USUAL, 2.0)))
        assert found.groups == before.groups
        assert np.array_equal(found.in_doubt, before.in_doubt)


def test_rows_that_nobody_predicted_count_for_nothing() -> None:
    """Those of the reference itself, or flagged ones: of seven others nothing can be said."""
    found, _ = cleared(doubted(FIRST), ALL[23:], said(USUAL[23:]))
    assert found.groups[0].ruling == "review"


def test_rows_of_which_nobody_knows_anything_stay_in_doubt() -> None:
    may_go = np.arange(N) != 3
    found, _ = cleared(doubted(FIRST), ALL[ALL != 3], said(np.delete(USUAL, 3).clip(max=2)), may_go)
    assert found.groups[0].ruling == "honest"
    assert np.flatnonzero(found.in_doubt).tolist() == [3]
    assert found.reasons[3]


def test_groups_that_were_not_named_take_the_place_of_those_that_are_cleared() -> None:
    rows = np.minimum(USUAL, 2.0)
    rows[60:90] += 9.0
    before = doubted(FIRST, np.arange(60, 90))
    found, _ = cleared(replace(before, notes=[before.notes[0], "a note"]), ALL, said(rows))
    assert found.notes == [before.groups[1].in_a_line(), "a note"]


def test_p_is_one_of_uniform_values_or_larger_and_small_for_poison() -> None:
    rng = np.random.default_rng(6)
    honest = [p_as_reference(rng.normal(size=20), rng.normal(size=150)) for _ in range(400)]
    assert np.mean(np.array(honest) <= 0.05) < 0.06
    a_quarter = [
        p_as_reference(np.concatenate([rng.normal(4.0, 1.0, 5), rng.normal(size=15)]), other)
        for other in rng.normal(size=(200, 150))
    ]
    assert np.mean(np.array(a_quarter) <= 0.05) > 0.95
