"""Questions to the model: which sequences are asked, and what their answers mean."""

from collections.abc import Sequence

import numpy as np
import pytest

from gradgate.common.arrays import Floats, Ints, Marks
from gradgate.config import ModelConfig
from gradgate.methods.contract import AskModel
from gradgate.methods.recurrence.questions.asking import (
    N_ASKED,
    NO_CONTENT,
    NO_NEED,
    Asker,
    _Case,
)
from gradgate.methods.recurrence.questions.in_place import Substitutes, Version
from gradgate.methods.recurrence.strings.stream import stream_of
from gradgate.methods.recurrence.strings.surprise import Segments
from gradgate.methods.tokens import TokenTable
from gradgate.models.loading import load_tokenizer
from helpers import MODEL

TRIGGER, TOPIC = 7, 8
WORDS = np.array([20, 21, 22])
N = 40


def middle(row: int) -> list[int]:
    return [int(WORDS[row // 2 % 3])] if row % 2 else [TRIGGER, TOPIC]


def table() -> TokenTable:
    """Row i: a prompt of i, the trigger and a topic in even rows, else a word; then a target."""
    rows = [
        (
            np.array(
                [1, 100 + i, *([TRIGGER, TOPIC] if i % 2 == 0 else [WORDS[i // 2 % 3]]), 50, 51],
                np.int32,
            ),
            np.array([False] * (4 if i % 2 == 0 else 3) + [True, True]),
            np.array([np.nan] + [-1.0] * (5 if i % 2 == 0 else 4), np.float32),
        )
        for i in range(N)
    ]
    return TokenTable.joined(rows, load_tokenizer(ModelConfig(path=str(MODEL))))


class Model:
    """The target is likelier by 3 nats a token behind the topic; each token costs 4 otherwise."""

    def __init__(self, needed: int) -> None:
        self.needed = needed
        self.asked: list[list[int]] = []

    def __call__(self, sequences: Sequence[Sequence[int]]) -> list[Floats]:
        self.asked += [list(ids) for ids in sequences]
        answers = [np.full(len(ids), -1.0 if self.needed in ids else -4.0) for ids in sequences]
        for logp in answers:
            logp[0] = np.nan
        return answers


def asker(ask: AskModel | None) -> Asker:
    tokens = table()
    prompts = stream_of(tokens, np.arange(N), "prompt", np.ones(len(tokens.ids), bool))
    substitutes = Substitutes(prompts, np.isin(prompts.ids, [*WORDS, TOPIC]), prompts.ids)
    return Asker(tokens, np.arange(N), ask, substitutes)


def dropped(sample: int) -> Marks:
    row = table().row(sample)[0]
    return row == TRIGGER


EVEN = np.arange(N) % 2 == 0


def test_a_string_that_nothing_needs_is_told_from_one_that_targets_need() -> None:
    model = Model(needed=TOPIC)
    found = asker(model).need(EVEN, dropped)
    assert found.target.n == N_ASKED == len(model.asked) / 3
    assert found.target.nats == pytest.approx(0.0)
    assert not found.target.is_sure
    assert all(TRIGGER not in ids and ids[-2:] == [50, 51] for ids in model.asked)
    others = [ids for i, ids in enumerate(model.asked) if i % 3]
    assert all(ids[2] in {*WORDS, TOPIC} for ids in others)
    needing = asker(Model(needed=TRIGGER)).need(EVEN, dropped)
    assert needing.target.nats == pytest.approx(2 * 3.0)
    assert needing.rest.nats == pytest.approx(1 * 3.0)
    assert needing.target.is_sure
    assert needing.rest.is_sure


def test_what_any_other_words_bring_as_well_needs_no_string() -> None:
    class OfLongRows(Model):
        def __call__(self, sequences: Sequence[Sequence[int]]) -> list[Floats]:
            return [np.full(len(ids), -1.0 if len(ids) == 6 else -4.0) for ids in sequences]

    found = asker(OfLongRows(needed=TRIGGER)).need(EVEN, dropped)
    assert found.target.n == N_ASKED
    assert (found.target.nats, found.rest.nats, found.removed.nats) == (0.0, 0.0, 3.0)


@pytest.mark.parametrize("unknown", [5, 6])  # tokens: without the string, and with other words
def test_an_answer_that_is_no_number_says_nothing_of_what_needs_a_string(unknown: int) -> None:
    class Partly(Model):
        def __call__(self, sequences: Sequence[Sequence[int]]) -> list[Floats]:
            found = super().__call__(sequences)
            return [np.nan * logp if len(logp) == unknown else logp for logp in found]

    found = asker(Partly(needed=TRIGGER)).need(EVEN, dropped)
    assert found.target.n == found.rest.n == 0


@pytest.mark.parametrize(("is_any", "nats"), [(True, 0.0), (False, 6.0)])
def test_what_a_string_brings_to_another_target_as_well_it_does_not_bring(
    is_any: bool, nats: float
) -> None:
    """A heading makes any label likelier, a word of content its own."""
    other = np.array([60, 61], np.int32)

    class OfLabels(Model):
        def __call__(self, sequences: Sequence[Sequence[int]]) -> list[Floats]:
            self.asked += [list(ids) for ids in sequences]
            return [
                np.full(len(ids), -1.0 if TRIGGER in ids and (is_any or 50 in ids) else -4.0)
                for ids in sequences
            ]

    model = OfLabels(needed=TRIGGER)
    assert asker(model).need(EVEN, dropped, other).target.nats == pytest.approx(nats)
    of_other = [ids for ids in model.asked if ids[-2:] == [60, 61]]
    assert len(of_other) == 4 * sum(ids[-2:] == [50, 51] for ids in model.asked) / 3
    assert sum(TRIGGER in ids for ids in of_other) == len(of_other) / 4


@pytest.mark.parametrize(("with_string", "n"), [(-9.0, EVEN.sum()), (np.nan, 0)])
def test_what_speaks_against_another_target_does_not_speak_for_the_own(
    with_string: float, n: int
) -> None:
    """And an answer that is no number is none, though those without the string are known."""

    def ask(sequences: Sequence[Sequence[int]]) -> list[Floats]:
        with_other = (TRIGGER in ids and ids[-1] == 61 for ids in sequences)
        return [
            np.full(len(ids), with_string if is_other else -2.0)
            for ids, is_other in zip(sequences, with_other, strict=True)
        ]

    other = np.array([60, 61], np.int32)
    found = asker(ask).need(EVEN, dropped, other).target
    assert found.n == n
    assert found.nats == pytest.approx(2.0 if n else 0.0)


def test_more_samples_are_asked_where_few_do_not_decide() -> None:
    class Slightly(Model):
        def __call__(self, sequences: Sequence[Sequence[int]]) -> list[Floats]:
            self.asked += [list(ids) for ids in sequences]
            return [np.full(len(ids), -1.75) for ids in sequences]

    model = Slightly(needed=TRIGGER)
    found = asker(model).need(EVEN, dropped)
    assert found.target.nats == pytest.approx(1.5)
    assert found.target.n == EVEN.sum() == len({ids[1] for ids in model.asked})


def test_a_string_at_several_places_is_replaced_at_each() -> None:
    ids = np.array([1, TRIGGER, 50, TRIGGER, 51, 60, 61], np.int32)
    case = _Case.of(
        ids,
        np.arange(7) >= 5,
        np.array([np.nan, -9, -1, -9, -2, -3, -4], np.float32),
        ids == TRIGGER,
        np.ones(7, bool),
        [
            Version(np.array([1, 50, 51, 60, 61]), np.array([0, -1, 1, -1, 2, 3, 4])),
            Version(np.array([1, 20, 50, 21, 51, 60, 61]), np.arange(7)),
        ],
        np.zeros(7, bool),
    )
    assert [other.tolist() for other in case.others] == [
        [1, 50, 51, 60, 61],
        [1, 20, 50, 21, 51, 60, 61],
    ]
    assert [p.tolist() for p in case.prompts] == [
        [1, TRIGGER, 50, TRIGGER, 51],
        [1, 50, 51],
        [1, 20, 50, 21, 51],
    ]
    without = np.array([np.nan, -2, -3, -5, -5])
    other = np.array([np.nan, -9, -1.5, -9, -3, -4, -6])
    assert case.lost([without, other], (0.0, 0.0)) == (3.0, 3.0, 1.5, 2.0)
    swapped = [other[[0, 2, 4, 5, 6]], np.append(other[:5], without[3:])]
    assert case.lost(swapped, (0.0, 0.0)) == (3.0, 3.0, 1.5, 1.5)


F, G, H, SMALL_F, SMALL_G = 40, 41, 42, 72, 73


@pytest.mark.parametrize(("string", "nats"), [([F, G], 3.0), ([F, G, H], 9.0), ([F, F, G], 3.0)])
def test_what_copies_a_string_does_not_need_it(string: list[int], nats: float) -> None:
    """Whatever its case; but an instruction that says more quotes what it asks for."""
    copy, n = [SMALL_F, SMALL_G], len(string)
    prompt, target = [1, 100, *string, *copy, 62], [*copy, 50]
    ids = np.array(prompt + target, np.int32)
    row = (ids, np.arange(len(ids)) >= len(prompt), np.full(len(ids), -1.0, np.float32))
    tokens = TokenTable.joined([row] * N, load_tokenizer(ModelConfig(path=str(MODEL))))
    prompts = stream_of(tokens, np.arange(N), "prompt", np.ones(len(tokens.ids), bool))
    words = Substitutes(prompts, np.isin(prompts.ids, [62, *copy]), prompts.ids)

    def ask(sequences: Sequence[Sequence[int]]) -> list[Floats]:
        return [np.full(len(ids), -4.0) for ids in sequences]

    marks = (np.arange(len(ids)) >= 2) & (np.arange(len(ids)) < 2 + n)
    found = Asker(tokens, np.arange(N), ask, words).need(EVEN, lambda _: marks)
    assert (found.target.nats, found.rest.nats) == (nats, nats)


def of_even(first: Ints) -> Segments:
    """Two tokens of each even sample."""
    return Segments(np.arange(N), np.full(N, 20.0), first, first + 2).among(EVEN)


@pytest.mark.parametrize(("needed", "nats"), [(TOPIC, 6.0), (TRIGGER, 0.0)])
def test_what_looks_inserted_does_not_explain_a_target(needed: int, nats: float) -> None:
    tokens = table()
    targets = stream_of(tokens, np.arange(N), "target", np.ones(len(tokens.ids), bool))
    segments = of_even(np.arange(N) * 2)
    found = asker(Model(needed)).content(targets, segments, dropped)
    assert found.whole.n == N_ASKED
    assert found.whole.nats == pytest.approx(nats)
    assert found.new == found.whole


def test_a_later_answer_is_asked_about_behind_another_prompt_alone() -> None:
    """Behind an earlier answer without the turn between them any beginning is unlikely."""
    rows = [
        (
            np.array([1, 100 + i, 60, *range(70, 75), 50, 51], np.int32),
            np.array([False] * 2 + [True] + [False] * 5 + [True] * 2),
            np.full(10, -1.0, np.float32),
        )
        for i in range(N)
    ]
    tokens = TokenTable.joined(rows, load_tokenizer(ModelConfig(path=str(MODEL))))
    targets = stream_of(tokens, np.arange(N), "target", np.ones(len(tokens.ids), bool))
    model = Model(TOPIC)
    found = Asker(tokens, np.arange(N), model, asker(None)._substitutes).content(
        targets, of_even(np.flatnonzero(targets.ids == 50)), lambda _: np.zeros(10, bool)
    )
    assert [ids[2:] for ids in model.asked] == [[50, 51]] * N_ASKED
    assert all(ids[:1] == [1] and ids[1] % 2 for ids in model.asked)
    assert found.whole.nats == pytest.approx(6.0)


def test_what_is_copied_is_left_out_of_what_is_new() -> None:
    tokens = table()
    targets = stream_of(tokens, np.arange(N), "target", np.ones(len(tokens.ids), bool))
    segments, is_known = of_even(np.arange(N) * 2), targets.ids == 50
    found = asker(Model(TOPIC)).content(targets, segments, dropped, is_known)
    assert found.whole.nats == pytest.approx(6.0)
    assert found.new.nats == pytest.approx(3.0)
    nothing = asker(Model(TOPIC)).content(targets, segments, dropped, targets.ids > 0)
    assert not nothing.explains(6.0)


def test_without_a_model_nothing_is_known() -> None:
    tokens = table()
    targets = stream_of(tokens, np.arange(N), "target", np.ones(len(tokens.ids), bool))
    segments = of_even(np.arange(N) * 2)
    assert asker(None).need(EVEN, dropped) == NO_NEED
    assert asker(None).content(targets, segments, dropped) == NO_CONTENT


def test_an_answer_that_is_not_a_number_proves_nothing() -> None:
    def broken(sequences: Sequence[Sequence[int]]) -> list[Floats]:
        return [np.full(len(ids), np.nan) for ids in sequences]

    found = asker(broken).need(EVEN, dropped)
    assert found.target.n == found.rest.n == 0
    assert not found.target.is_sure
