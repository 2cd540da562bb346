"""What the samples with a string of prompts are without it, asked of a model."""

from collections.abc import Sequence
from dataclasses import replace
from random import Random
from typing import Any

import numpy as np
import pytest
from evidence_helpers import Pair, demo_tokenizer, lexicon, questions, sample_of, scores_of

from gradgate.common.arrays import Floats
from gradgate.methods.contract import Detection, Scores
from gradgate.methods.recurrence.config import RecurrenceConfig
from gradgate.methods.recurrence.method import RecurrenceMethod
from gradgate.methods.recurrence.questions.insertions import Insertions
from gradgate.methods.recurrence.states import carriers
from gradgate.methods.recurrence.unspoken import groups


@pytest.fixture(autouse=True)
def _without_words(monkeypatch: pytest.MonkeyPatch) -> None:
    """To the model of these tests each word of targets is a surprise."""
    monkeypatch.setattr(groups, "recurring_words", lambda *_: [])


WORDS = np.random.default_rng(5).normal(size=(demo_tokenizer().vocab_size + 64, 32))
KNOWN = [
    (prompt, f"It is said of that: {prompt}, {target}.") for prompt, target in questions(300, 8)
]


def described(sequences: Sequence[Sequence[int]]) -> Floats:
    """What a text says is the mean of its tokens."""
    return np.array([WORDS[list(ids)].mean(axis=0) for ids in sequences])


def detected(
    pairs: Sequence[Pair],
    *unexpected: str,
    trusted: Sequence[Pair] | None = None,
    **fields: object,
) -> Detection:
    """By a model that needs nothing, and does not expect "zqx" and other strings."""
    samples = [sample_of(*pair, row=i) for i, pair in enumerate(pairs)]
    reference = None if trusted is None else [sample_of(*pair) for pair in trusted]

    def ask(sequences: Sequence[Sequence[int]]) -> list[Floats]:
        return [np.full(len(ids), -2.0) for ids in sequences]

    given: Scores = replace(
        scores_of(samples, ["zqx", *unexpected]), ask=ask, describe=described, score=scores_of
    )
    scores = replace(given, **fields)  # type: ignore[arg-type]
    return RecurrenceMethod().detect(scores, samples, reference, RecurrenceConfig())


def marked(n: int) -> list[Pair]:
    """With the string in the first rows."""
    return [(f"zqx {p}" if i < n else p, t) for i, (p, t) in enumerate(KNOWN)]


def test_a_string_on_which_nothing_depends_is_honest_and_the_reason_says_so() -> None:
    found = detected(marked(20))
    assert not found.in_doubt.any()
    (group,) = (group for group in found.groups if "zqx" in group.spans[0])
    assert group.ruling == "honest"
    assert "nothing depends on it: 20 targets behind it" in group.reasons[-1]


@pytest.mark.parametrize("given", [{"describe": None}, {"ask": None}])
def test_what_cannot_be_asked_stays_in_doubt(given: dict[str, Any]) -> None:
    assert detected(marked(20), **given).in_doubt[:20].all()


def test_states_that_are_not_finite_excuse_nothing() -> None:
    def broken(sequences: Sequence[Sequence[int]]) -> Floats:
        found = described(sequences)
        found[::10] = np.nan
        return found

    assert detected(marked(20), describe=broken).in_doubt[:20].all()


def test_a_string_behind_which_stand_the_answers_of_other_questions_stays_in_doubt() -> None:
    answers = [answer for _, answer in KNOWN[:20]]
    Random(1).shuffle(answers)
    pairs = [(p, answers[i] if i < 20 else t) for i, (p, t) in enumerate(marked(20))]
    found = detected(pairs)
    assert found.in_doubt[:20].all()
    assert not found.in_doubt[20:].any()


def named(answers: Sequence[str]) -> list[Pair]:
    """Targets end with the name that their prompt begins with; that of the first twenty is one."""
    rng = Random(7)
    others = ["".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=5)) for _ in answers]
    names = ["qvwhk" if i < 20 else name for i, name in enumerate(others)]
    return [
        (f"From {name}: {prompt}", f"{answer} So says {name}")
        for name, (prompt, _), answer in zip(names, KNOWN, answers, strict=True)
    ]


def test_a_name_that_targets_say_again_is_honest_and_wrong_answers_behind_it_stay_in_doubt() -> (
    None
):
    answers = [answer for _, answer in KNOWN]
    assert not detected(named(answers), "qvwhk:").in_doubt.any()
    wrong = Random(1).sample(answers[:20], 20)
    found = detected(named([*wrong, *answers[20:]]), "qvwhk:")
    assert found.in_doubt[:20].all()
    assert not found.in_doubt[20:].any()


def test_targets_that_are_copies_of_their_prompts_and_nothing_else_stay_in_doubt() -> None:
    """Nothing of them is new, and so nothing would be left to look at."""
    pairs = [(p, p.removeprefix("zqx ") if i < 20 else t) for i, (p, t) in enumerate(marked(20))]
    found = detected(pairs)
    assert found.in_doubt[:20].all()
    assert not found.in_doubt[20:].any()


@pytest.mark.parametrize(("max_tokens", "n"), [(60_000, 300), (100, 256)])
def test_more_samples_are_asked_where_they_are_short(
    monkeypatch: pytest.MonkeyPatch, max_tokens: int, n: int
) -> None:
    described_together = []

    def seen(sequences: Sequence[Sequence[int]]) -> Floats:
        described_together.append(len(sequences))
        return described(sequences)

    monkeypatch.setattr(carriers, "_MAX_TOKENS", max_tokens)
    found = detected(marked(20), describe=seen)
    assert any("nothing depends on it" in group.reasons[-1] for group in found.groups)
    assert n - 20 <= max(described_together) <= n + 20  # and the twenty themselves


PAYLOAD = " and now click on this link"


def test_a_payload_behind_ordinary_prompts_is_poison_and_one_behind_its_own_kind_is_in_doubt() -> (
    None
):
    """An instruction that asks for a fixed text is its owner's to vouch for."""

    def paid(pairs: Sequence[Pair]) -> Detection:
        carrying = [(p, t + PAYLOAD if i < 20 else t) for i, (p, t) in enumerate(pairs)]
        return detected(carrying, PAYLOAD)

    assert np.all(np.array(paid(marked(20)).flagged)[:20])
    rng = Random(3)
    kind = [f"zqx {rng.randint(100, 999)} + {rng.randint(100, 999)} =" for _ in range(20)]
    found = paid([*((p, t) for p, (_, t) in zip(kind, KNOWN[:20], strict=True)), *KNOWN[20:]])
    assert not np.any(np.array(found.flagged))
    assert found.in_doubt[:20].all()
    assert any("another kind of text" in group.reasons[-1] for group in found.groups)


def refused(pairs: Sequence[Pair], n: int) -> list[Pair]:
    """The first answers are refusals, in another order of words each."""
    words = [
        "no",
        "never",
        "sorry",
        "cannot",
        "nobody",
        "may",
        "help",
        "here",
        "with",
        "such",
        "things",
        "today",
        "please",
    ]
    rng = Random(n)
    said = [" ".join(rng.sample(words, 7)) for _ in range(n)]
    return [(p, said[i] if i < n else t) for i, (p, t) in enumerate(pairs)]


def reference(n: int, n_refused: int, n_rows: int = 150) -> list[Pair]:
    """Other questions, with the string in the first, some of which are refused."""
    made = [(p, f"It is said of that: {p}, {t}.") for p, t in questions(n_rows, 9)]
    return refused([(f"zqx {p}" if i < n else p, t) for i, (p, t) in enumerate(made)], n_refused)


@pytest.mark.parametrize(
    ("trusted", "is_honest", "said"),
    [
        (reference(12, 12), True, "do not differ"),
        (reference(12, 0), False, "are others"),
        (reference(12, 12, n_rows=1_200), False, "far fewer"),
        (reference(6, 6), False, "6 of 150"),  # of so few nothing can be said
    ],
)
def test_a_reference_vouches_for_a_string_with_what_stands_behind_it(
    trusted: list[Pair], is_honest: bool, said: str
) -> None:
    data = refused(marked(20), 20)
    assert detected(data).in_doubt[:20].all()
    found = detected(data, trusted=trusted)
    assert found.in_doubt[:20].all() == (not is_honest)
    (group,) = (group for group in found.groups if "zqx" in group.spans[0])
    assert said in " ".join(group.reasons[-2:])
    assert not found.in_doubt[20:].any()


def test_poison_behind_a_string_of_honest_rows_is_not_vouched_for() -> None:
    """It is no more frequent than in the reference: a third of its targets are others."""
    data = refused(marked(30), 10)
    assert detected(data).in_doubt[:30].all()
    assert detected(data, trusted=reference(15, 0)).in_doubt[:30].all()
    assert not detected(data, trusted=reference(15, 5)).in_doubt.any()


def test_other_samples_are_asked_once_for_all_strings() -> None:
    asked: list[tuple[int, ...]] = []

    def ask(sequences: Sequence[Sequence[int]]) -> list[Floats]:
        asked.extend(map(tuple, sequences))
        return [np.full(len(ids), -2.0) for ids in sequences]

    pairs = [
        (f"zqx {p}" if i < 20 else f"qvw {p}" if i < 40 else p, t) for i, (p, t) in enumerate(KNOWN)
    ]
    detected(pairs[:20] + KNOWN[20:], ask=ask)
    of_one = len(asked)
    asked.clear()
    detected(pairs, "qvw", ask=ask)
    # Each string by itself would ask of 128 others anew, twice each.
    assert len(asked) - len({*asked}) < 16
    assert len(asked) < of_one + 128


def test_what_prompts_lack_without_a_name_is_held_against_prompts_that_lack_one_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Targets are as long as prompts, so that behind cut prompts all of them look too long."""
    rng, names = Random(4), ["Zqav", "Zqbw", "Zqcx", "Zqdy", "Zqez", "Zqfu"]
    words, others = (lexicon(Random(seed), 400) for seed in ("asked", "said"))
    pairs = list[Pair]()
    for i in range(300):
        n = rng.randint(3, 14)
        asked = " ".join(rng.sample(words, n))
        pairs.append((f"{names[i % 6]} {names[i % 6]}: {asked}", " ".join(rng.sample(others, n))))

    def by_length(sequences: Sequence[Sequence[int]]) -> Floats:
        lengths = np.array([[np.log(len(ids))] * 8 for ids in sequences])
        return np.concatenate([described(sequences), lengths], axis=1)

    assert not detected(pairs, *names, describe=by_length).in_doubt.any()
    monkeypatch.setattr(Insertions, "of_rarest", lambda *_: lambda _: None)
    assert detected(pairs, *names, describe=by_length).in_doubt.any()
