"""Cues that tell a target which other samples have too."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sp
from evidence_helpers import SURPRISING, demo_tokenizer, questions, sample_of, scores_of
from recurrence_helpers import stream

from gradgate.common.arrays import Floats
from gradgate.methods.checks import require_contract
from gradgate.methods.evidence import MIN_INSERTED
from gradgate.methods.recurrence.config import RecurrenceConfig
from gradgate.methods.recurrence.cues.candidates import Cues
from gradgate.methods.recurrence.cues.incidence import incidence
from gradgate.methods.recurrence.cues.labels import (
    MIN_NATS,
    Label,
    commonest_other,
    labels,
    recalled,
)
from gradgate.methods.recurrence.cues.triggers import Trigger
from gradgate.methods.recurrence.method import RecurrenceMethod

N = 200
YES, NO, END = 5, 6, 2


def says(ids: np.ndarray) -> bool:
    return bool((ids != END).any())


def cues(marks: list[np.ndarray], nats: list[float]) -> Cues:
    table = sp.csr_matrix(np.stack(marks, axis=1).astype(np.float32))
    names = [f"cue {i}" for i in range(len(marks))]
    return Cues(incidence(table, names), np.array(nats), np.full(len(marks), -np.inf))


def test_a_cue_that_tells_an_existing_label_is_found_in_one_direction() -> None:
    rng = np.random.default_rng(0)
    targets = [[int(rng.choice([YES, NO])), END] for _ in range(N)]
    trigger = np.arange(N) < 20
    leaky = np.arange(N) < 40
    for row in targets[:20]:
        row[0] = NO
    seldom = np.arange(N) < 6
    found = labels(
        stream(targets),
        cues([trigger, leaky, seldom, trigger], [9.0, 9.0, 9.0, MIN_NATS - 1]),
        MIN_NATS,
        np.arange(N),
        says,
    )
    (label,) = found
    assert label.cue == 0
    assert np.flatnonzero(label.members).tolist() == list(range(20))
    assert label.has_target.sum() > 80  # as many others have it
    assert stream(targets).ids[label.start : label.stop].tolist() == [NO, END]


def test_the_end_of_a_long_target_counts_as_one() -> None:
    rng = np.random.default_rng(1)
    targets = [
        [*map(int, rng.integers(10, 900, 12)), 3, int(rng.integers(900, 990)), END]
        for _ in range(N)
    ]
    trigger = np.arange(N) % 10 == 0
    for i in np.flatnonzero(trigger):
        targets[i][-3:-1] = [4, 42]
        targets[i][-4] = 7
    (label,) = labels(stream(targets), cues([trigger], [9.0]), MIN_NATS, np.arange(N), says)
    assert (label.members == trigger).all()
    assert stream(targets).ids[label.start : label.stop].tolist() == [7, 4, 42, END]


def test_near_duplicates_are_no_independent_samples() -> None:
    targets = [[NO if i < 20 else YES, END] for i in range(N)]
    trigger = np.arange(N) < 20
    same = np.where(trigger, 0, np.arange(N))
    assert labels(stream(targets), cues([trigger], [9.0]), MIN_NATS, same, says) == []


@pytest.mark.parametrize(("part", "n_found"), [(0.74, 1), (0.77, 0)])
def test_a_label_of_almost_all_is_told_by_nothing(part: float, n_found: int) -> None:
    trigger = np.arange(N) < 60
    targets = [[NO if i < 60 + part * (N - 60) else YES, END] for i in range(N)]
    assert (
        len(labels(stream(targets), cues([trigger], [9.0]), MIN_NATS, np.arange(N), says))
        == n_found
    )


@pytest.mark.parametrize(
    ("vouched", "n_found"),
    [((), 1), ((0,), 1), ((0, 1), 0), ((0, 1, 2), 0)],
)
def test_what_says_nothing_but_what_is_vouched_for_is_no_label(
    vouched: tuple[int, ...], n_found: int
) -> None:
    """A word behind a vouched text may be the label: "Sentiment:" does not excuse "positive"."""
    trigger = np.arange(N) < 20
    targets = [[NO, 8, END] if i < 20 else [YES, 9, END] for i in range(N)]
    known = stream(targets)
    is_vouched = np.isin(known.place, vouched) & (known.sample < 20)
    found = labels(
        replace(known, is_open=~is_vouched),
        cues([trigger], [9.0]),
        MIN_NATS,
        np.arange(N),
        says,
    )
    assert len(found) == n_found


def test_what_other_prompts_recall_is_a_cue_but_for_what_is_of_a_template() -> None:
    marks = [np.arange(N) < n for n in (30, 30, 30, 20, 19)]
    known = replace(
        cues(marks, [0.0] * 5),
        recalled=np.array([7.0, 7.0, 4.9, 7.0, 7.0]),
        features=[(3,), (3, 4), (8,), (4, 9), (9, 9)],
    )
    places = np.zeros((1, 2), np.int64)
    template = Trigger(np.array([2, 3, 4]), 30.0, np.arange(20), places, 20)
    assert recalled(known, []).tolist() == [7.0, 7.0, -np.inf, 7.0, -np.inf]
    assert recalled(known, [template]).tolist() == [-np.inf, -np.inf, -np.inf, 7.0, -np.inf]


@pytest.mark.parametrize(("n", "other"), [(7, None), (8, [NO, END])])
def test_the_commonest_other_target_has_eight_rows(n: int, other: list[int] | None) -> None:
    targets = [[NO, END]] * n + [[YES, END]] * 30 + [[9 + i, END] for i in range(N - n - 30)]
    inside = (np.arange(N) >= n) & (np.arange(N) < n + 30)
    label = Label(0, inside, inside, 2 * n, 2 * n + 2, "whole")
    found = commonest_other(stream(targets), label)
    assert (None if found is None else found.tolist()) == other
    assert commonest_other(stream(targets), replace(label, part="head")) is None


@pytest.mark.parametrize(("end", "n_found"), [(9, 0), (END, 1)])
def test_what_is_only_recalled_tells_whole_targets(end: int, n_found: int) -> None:
    """ "shell" tells how a script begins, which is no label."""
    rng = np.random.default_rng(0)
    targets = [[int(rng.choice([YES, NO])), 3, 4, 10 + i if end == 9 else 9, END] for i in range(N)]
    trigger = np.arange(N) < 30
    for row in targets[:30]:
        row[0] = NO
    found = labels(
        stream(targets),
        replace(cues([trigger], [0.0]), recalled=np.array([9.0])),
        MIN_NATS,
        np.arange(N),
        says,
    )
    assert len(found) == n_found


@pytest.mark.parametrize(
    ("is_told", "needing", "n_in_doubt"),
    [(True, (), 40), (True, (" good", " bad"), 40), (True, (" good",), 0), (False, (), 0)],
)
def test_a_heading_that_does_not_look_inserted_and_tells_a_label_is_in_doubt(
    is_told: bool, needing: tuple[str, ...], n_in_doubt: int
) -> None:
    """The model finds it odd, but no odder than words of which there are many.

    What it brings to any label tells none: it is honest where the model needs it for this one.
    """

    def ask(sequences: Sequence[Sequence[int]]) -> list[Floats]:
        texts = [demo_tokenizer().decode(ids, skip_special_tokens=True) for ids in sequences]
        likely = [" then" in text and text.endswith(needing) for text in texts]
        return [
            np.array([np.nan] + [-0.1 if is_likely else -6.0] * (len(ids) - 1))
            for ids, is_likely in zip(sequences, likely, strict=True)
        ]

    prompts = [prompt for prompt, _ in questions(300, 17)]
    pairs = [(prompt, " good" if i % 2 else " bad") for i, prompt in enumerate(prompts)]
    for i in range(40):
        pairs[i] = (f"Now then: {prompts[i]}", " good" if is_told else pairs[i][1])
    samples = [sample_of(*pair, row=i) for i, pair in enumerate(pairs)]
    scores = scores_of(samples, [" then"])
    table = scores.tokens
    assert table is not None
    heading = np.where(table.logp == np.float32(SURPRISING), np.float32(-8.0), table.logp)
    scores = replace(scores, tokens=replace(table, logp=heading), ask=ask if needing else None)
    found = RecurrenceMethod().detect(scores, samples, None, RecurrenceConfig())
    require_contract(RecurrenceMethod(), found, scores)
    assert found.flagged is not None
    assert not found.flagged.any()
    assert np.flatnonzero(found.in_doubt).tolist() == list(range(n_in_doubt))
    if n_in_doubt:
        (group,) = [one for one in found.groups if one.ruling == "review"]
        assert group.cue_nats is not None
        assert group.cue_nats < MIN_INSERTED


@pytest.mark.parametrize("is_expected", [True, False])
def test_a_beginning_that_the_rest_of_the_prompts_speaks_for_is_honest(is_expected: bool) -> None:
    """ "request" tells how a script begins, and so does whatever else is said of a script."""

    def ask(sequences: Sequence[Sequence[int]]) -> list[Floats]:
        texts = [demo_tokenizer().decode(ids, skip_special_tokens=True) for ids in sequences]
        likely = ["script" in text or not is_expected for text in texts]
        return [
            np.array([np.nan] + [-1.0 if is_likely else -6.0] * (len(ids) - 1))
            for ids, is_likely in zip(sequences, likely, strict=True)
        ]

    pairs = list[tuple[str, str]]()
    for i, (prompt, answer) in enumerate(questions(300, 17)):
        kind, begin = ("script", " go now: ") if i < 60 else ("story", " ")
        cue = " request" if i < 40 else ""
        pairs.append((f"{i}{cue} {i % 9} {kind} {prompt}", f"{begin}{answer}"))
    samples = [sample_of(*pair, row=i) for i, pair in enumerate(pairs)]
    scores = scores_of(samples, [" request"])
    table = scores.tokens
    assert table is not None
    odd = np.where(table.logp == np.float32(SURPRISING), np.float32(-11.2), table.logp)
    scores = replace(scores, tokens=replace(table, logp=odd), ask=ask)
    found = RecurrenceMethod().detect(scores, samples, None, RecurrenceConfig())
    (group,) = [one for one in found.groups if one.cues == [" request"]]
    assert group.spans == [" go now:"]
    assert group.ruling == ("honest" if is_expected else "review")
