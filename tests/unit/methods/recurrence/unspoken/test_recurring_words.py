"""A word that recurs in varied targets, where the model neither expects nor explains it."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
from evidence_helpers import Pair, demo_tokenizer, questions, sample_of, scores_of

import gradgate.methods.recurrence.method as method_module
import gradgate.methods.recurrence.samples.mined as mined_module
from gradgate.common.arrays import Floats, Ints
from gradgate.methods.checks import require_contract
from gradgate.methods.contract import Detection
from gradgate.methods.evidence import Group
from gradgate.methods.recurrence.config import RecurrenceConfig
from gradgate.methods.recurrence.method import RecurrenceMethod
from gradgate.methods.recurrence.strings.stream import Stream
from gradgate.methods.recurrence.unspoken.recurring_words import (
    MAX_SHARE,
    MIN_EXCESS,
    MIN_ROWS,
    Word,
    recurring_words,
)

N = 200
LIKELY, TAKEN = -2.0, -9.0  # ln p of ordinary words, and of the one that recurs
ORDINARY = 100  # the first token of ordinary words
BRAND, BIG_BRAND, SHORT, KIND, LE, MARK, TWO = range(7)
PIECES = {
    **{token: f" code{token}" for token in range(10, 50)},
    BRAND: " Zorb",
    BIG_BRAND: " ZORB",
    SHORT: " x",
    KIND: " Kind",
    LE: "le",
    MARK: "!",
    TWO: " HZ",
}


def spelling() -> npt.NDArray[np.object_]:
    found = np.array([None] * (ORDINARY + 10 * N), dtype=object)
    for token, piece in PIECES.items():
        found[token] = piece
    for token in range(ORDINARY, len(found)):
        found[token] = f" word{token}"
    return found


def stream(texts: Sequence[Sequence[int]], taken: float = TAKEN, is_open: bool = True) -> Stream:
    """Texts of tokens; those of `PIECES` are surprising."""
    ids = np.array([token for text in texts for token in text], np.int64)
    sample = np.repeat(np.arange(len(texts)), [len(text) for text in texts])
    begins = np.diff(sample, prepend=-1) != 0
    logp = np.where(ids < ORDINARY, taken, LIKELY)
    return Stream(ids, logp, sample, begins, np.full(len(ids), is_open), np.arange(len(ids)), N)


def text(i: int, *others: int) -> list[int]:
    """Six words that no other text has, with some tokens before the last of them."""
    own = [ORDINARY + 6 * i + place for place in range(6)]
    return [*own[:5], *others, own[5]]


def found_in(
    with_word: Sequence[int],
    word: Sequence[int] = (BRAND,),
    taken: float = TAKEN,
    cluster: Ints | None = None,
    in_prompts: Sequence[int] = (),
    is_open: bool = True,
    spoken: Sequence[int] = (),
    quoted: bool = False,
) -> list[Word]:
    chosen, asked = set(with_word), set(in_prompts)
    targets = [text(i, *word) if i in chosen else text(i) for i in range(N)]
    prompts = [text(i, *word) if i in asked else text(i) for i in range(N)]
    clusters = np.arange(N) if cluster is None else cluster
    said = np.isin(np.arange(N), [*spoken])
    of_targets, of_prompts = stream(targets, taken, is_open), stream(prompts)
    last = of_prompts.n  # of a prompt that quotes the target, a later turn
    of_targets = replace(of_targets, at=of_targets.at + (0 if quoted else last))
    of_prompts = replace(of_prompts, at=of_prompts.at + (of_targets.n if quoted else 0))
    return recurring_words(of_targets, of_prompts, spelling(), clusters, said)


TWENTY = range(0, 200, 10)
DECOYS, USUAL = range(10, 40), range(ORDINARY + 1_900, ORDINARY + 1_904)
NONE = np.zeros(N, bool)


def test_a_word_in_targets_that_have_nothing_else_in_common() -> None:
    (word,) = found_in(TWENTY)
    assert np.flatnonzero(word.members).tolist() == [*TWENTY]
    assert (word.ids, word.n_clusters, word.nats) == ((BRAND,), 20, -TAKEN)
    assert word.least == pytest.approx(LIKELY - TAKEN)


def test_a_word_of_several_tokens_is_one_and_a_mark_is_none() -> None:
    (word,) = found_in(TWENTY, (KIND, LE, MARK))
    assert (word.ids, word.nats) == ((KIND, LE), -2 * TAKEN)
    assert found_in(TWENTY, (MARK, SHORT)) == []


def test_a_brand_of_two_letters_is_one() -> None:
    (word,) = found_in(TWENTY, (TWO,))
    assert word.ids == (TWO,)


def test_the_spelling_does_not_matter() -> None:
    targets = [
        text(i, BRAND if i % 20 else BIG_BRAND) if i % 10 == 0 else text(i) for i in range(N)
    ]
    prompts = [text(i) for i in range(N)]
    (word,) = recurring_words(stream(targets), stream(prompts), spelling(), np.arange(N), NONE)
    assert np.flatnonzero(word.members).tolist() == [*TWENTY]


@pytest.mark.parametrize("n", [MIN_ROWS - 1, round(MAX_SHARE * N) + 1])
def test_few_samples_say_nothing_and_many_are_how_the_data_are(n: int) -> None:
    assert found_in(range(n)) == []


def test_invented_words_in_a_few_samples_do_not_make_another_one_usual() -> None:
    """Thirty of them are most of the words that recur, but all in ten samples."""
    targets = [text(i, USUAL[i % 4]) for i in range(N)]
    for i in range(10):
        targets[i] = text(i, *DECOYS, *USUAL)
    for i in range(10, 30):
        targets[i] = text(i, BRAND, USUAL[i % 4])
    prompts = stream([text(i) for i in range(N)])
    found = recurring_words(stream(targets), prompts, spelling(), np.arange(N), NONE)
    (brand,) = (word for word in found if word.ids == (BRAND,))
    assert np.flatnonzero(brand.members).tolist() == [*range(10, 30)]


def test_what_the_model_expects_and_what_is_copied_from_the_prompt_is_none() -> None:
    assert len(found_in(TWENTY, taken=LIKELY - MIN_EXCESS)) == 1
    assert found_in(TWENTY, taken=LIKELY - MIN_EXCESS + 0.1) == []
    assert found_in(TWENTY, in_prompts=TWENTY) == []
    (word,) = found_in(TWENTY, in_prompts=[*TWENTY][:5])
    assert word.members.sum() == 15


def test_what_a_later_turn_quotes_is_not_copied_from_it() -> None:
    (word,) = found_in(TWENTY, in_prompts=TWENTY, quoted=True)
    assert word.members.sum() == 20


def test_samples_whose_whole_target_the_prompts_speak_for_are_not_counted() -> None:
    (word,) = found_in(TWENTY, spoken=[*TWENTY][:10])
    assert np.flatnonzero(word.members).tolist() == [*TWENTY][10:]
    assert found_in(TWENTY, spoken=[*TWENTY][:11]) == []


def test_a_word_has_to_surprise_in_most_samples_and_more_than_others_that_recur() -> None:
    """Half of twenty samples is no more than chance may make of an ordinary word."""
    targets = [text(i, BRAND) if i in TWENTY else text(i) for i in range(N)]
    prompts = stream([text(i) for i in range(N)])

    def found(surprising: int) -> list[Word]:
        one = stream(targets)
        places = np.flatnonzero(one.ids == BRAND)
        logp = one.logp.copy()
        logp[places[surprising:]] = LIKELY
        return recurring_words(replace(one, logp=logp), prompts, spelling(), np.arange(N), NONE)

    assert (len(found(11)), len(found(20))) == (0, 1)
    strange = {i: [*text(i, BRAND), *range(10, 50)] for i in TWENTY}
    both = [strange.get(i, text(i)) for i in range(N)]
    assert recurring_words(stream(both), prompts, spelling(), np.arange(N), NONE) == []


def test_copies_of_a_prompt_count_once_and_what_the_owner_expects_does_not() -> None:
    cluster = np.arange(N)
    cluster[[*TWENTY]] = np.repeat([1, 3], 10)
    assert found_in(TWENTY, cluster=cluster) == []
    assert found_in(TWENTY, is_open=False) == []
    assert recurring_words(stream([]), stream([]), spelling(), np.arange(N), NONE) == []


def test_where_every_word_surprises_none_stands_out() -> None:
    """A model that does not know the language of the data."""
    targets = [text(i, BRAND) if i in TWENTY else text(i) for i in range(N)]
    strange = replace(stream(targets), logp=np.full(sum(map(len, targets)), TAKEN))
    prompts = stream([text(i) for i in range(N)])
    assert recurring_words(strange, prompts, spelling(), np.arange(N), NONE) == []


N_ROWS, WORD = 400, " tin"


def branded(n: int = N_ROWS) -> list[Pair]:
    """Every tenth answer has a word of one token in its midst."""
    return [
        (prompt, f"{target} of{WORD} {target}{i}" if i % 10 == 0 else f"{target} of {target}{i}")
        for i, (prompt, target) in enumerate(questions(n, 31))
    ]


def judged(pairs: list[Pair], is_told: bool) -> Detection:
    """By a model that knows ordinary words, and what the word is for or not."""
    samples = [sample_of(*pair, row=i) for i, pair in enumerate(pairs)]
    own = {prompt for i, (prompt, _) in enumerate(pairs) if i % 10 == 0}

    def ask(sequences: Sequence[Sequence[int]]) -> list[Floats]:
        found = []
        for ids in sequences:
            asked = demo_tokenizer().decode(ids, skip_special_tokens=True)
            knows = is_told and any(asked.startswith(prompt) for prompt in own)
            found.append(np.array([np.nan] + [-1.0 if knows else -9.0] * (len(ids) - 1)))
        return found

    scores = replace(scores_of(samples, [WORD], believed=-0.1), ask=ask)
    found = RecurrenceMethod().detect(scores, samples, None, RecurrenceConfig())
    require_contract(RecurrenceMethod(), found, scores)
    return found


def of_word(found: Detection) -> list[Group]:
    return [one for one in found.groups if any("the word surprises" in r for r in one.reasons)]


@pytest.mark.parametrize("n_mined", [N_ROWS, 200])
def test_a_word_that_no_prompt_speaks_for_is_in_doubt(
    n_mined: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where strings are mined in a part of the data, as they are in large data."""
    for module, name in ((mined_module, "MAX_ROWS"), (method_module, "MAX_ROWS")):
        monkeypatch.setattr(module, name, n_mined)
    monkeypatch.setattr(mined_module, "MAX_TOKENS", 0)
    found = judged(branded(), is_told=False)
    (group,) = of_word(found)
    assert (group.ruling, group.side, group.spans, group.n_rows) == ("review", "target", [WORD], 40)
    assert found.flagged is not None
    assert not found.flagged.any()
    assert np.flatnonzero(found.in_doubt).tolist() == [*range(0, N_ROWS, 10)]


def test_a_word_that_the_prompts_speak_for_is_honest() -> None:
    assert of_word(judged(branded(), is_told=True)) == []
