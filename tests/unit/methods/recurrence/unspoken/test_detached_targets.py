"""Targets that recur although their prompts do not speak for them."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest
from evidence_helpers import Pair, questions, sample_of, scores_of

import gradgate.methods.recurrence.method as method_module
import gradgate.methods.recurrence.samples.mined as mined_module
from gradgate.common.arrays import Floats, Ints
from gradgate.config import ModelConfig
from gradgate.methods.checks import require_contract
from gradgate.methods.contract import AskModel, Detection
from gradgate.methods.recurrence.config import RecurrenceConfig
from gradgate.methods.recurrence.method import RecurrenceMethod
from gradgate.methods.recurrence.samples.texts import Texts
from gradgate.methods.recurrence.unspoken import detached_targets
from gradgate.methods.recurrence.unspoken.detached_targets import (
    MAX_SHARE,
    MIN_ROWS,
    Detached,
    detached,
)
from gradgate.methods.tokens import TokenTable
from gradgate.models.loading import load_tokenizer
from helpers import MODEL

N = 200
N_ROWS, ANSWER = 400, " tin"
KIND = 1_000  # a target `KIND + k` is expected behind a prompt with `k`, and hardly elsewhere
LIKELY, UNLIKELY = -1.0, -6.0


def expects(ids: Sequence[int]) -> Floats:
    """Of a prompt of kind k and a target of two tokens, with some noise by the prompt's number."""
    is_told = ids[-2] == KIND + ids[1]
    logp = np.full(len(ids), (LIKELY if is_told else UNLIKELY) + 0.01 * (ids[2] % 7))
    logp[0] = np.nan
    return logp


def model(sequences: Sequence[Sequence[int]]) -> list[Floats]:
    return [expects(ids) for ids in sequences]


def blind(sequences: Sequence[Sequence[int]]) -> list[Floats]:
    """A model that says the same of everything."""
    return [np.full(len(ids), -3.0) for ids in sequences]


def silent(sequences: Sequence[Sequence[int]]) -> list[Floats]:
    return [np.full(len(ids), np.nan) for ids in sequences]


def texts(
    kinds: dict[int, int],
    recurring: int,
    scored: Callable[[Sequence[int]], Floats] = expects,
    is_open: bool = True,
    turns: int = 1,
    n_targets: int = 1,
) -> Texts:
    """Rows with a prompt of a kind; those in `kinds` have the target `recurring`, or the next."""
    rows = []
    for i in range(N):
        kind = kinds.get(i, 100 + i)
        target = [KIND + (recurring + i // 2 % n_targets if i in kinds else 100 + i), 5]
        ids = [0, kind, 2_000 + i, 7] + target * turns
        marks = [False] * 4 + [True, True] * turns
        if turns > 1:
            ids.insert(6, 7)
            marks.insert(6, False)
        rows.append(
            (np.array(ids, np.int32), np.array(marks, bool), np.array(scored(ids), np.float32))
        )
    table = TokenTable.joined(rows, load_tokenizer(ModelConfig(path=str(MODEL))))
    some = np.ones(len(table.ids), bool)
    return Texts(table, np.arange(N), some, some & is_open, [""] * N)


def found_in(one: Texts, ask: AskModel = model, cluster: Ints | None = None) -> list[Detached]:
    clusters = np.arange(N) if cluster is None else cluster
    return detached(one, clusters, ask, seed=0).found


ANY = {i: 300 + i for i in range(0, 40, 2)}  # prompts of twenty kinds
OF_A_KIND = {i: 50 for i in range(0, 40, 2)}


def test_a_target_behind_any_prompt_is_found_and_one_that_prompts_speak_for_is_not() -> None:
    (found,) = found_in(texts(ANY, recurring=50))
    assert np.flatnonzero(found.members).tolist() == [*ANY]
    assert found.ids == (KIND + 50, 5)
    assert found.n_clusters == 20
    assert found.spoken == pytest.approx(0.5, abs=0.1)
    assert found.known == 1.0
    assert found.nats == pytest.approx(np.log(0.1) - 2 * UNLIKELY, abs=0.2)
    assert f"AUROC {found.spoken:.2f}" in found.in_words()
    assert found_in(texts(OF_A_KIND, recurring=50)) == []


def test_it_says_which_samples_have_a_target_that_the_prompts_speak_for() -> None:
    def spoken(kinds: dict[int, int], ask: AskModel = model) -> list[int]:
        said = detached(texts(kinds, recurring=50), np.arange(N), ask, seed=0)
        return np.flatnonzero(said.spoken).tolist()

    assert spoken(OF_A_KIND) == [*OF_A_KIND]
    assert spoken(ANY) == spoken({}) == spoken(OF_A_KIND, silent) == []


def test_the_same_seed_draws_the_same_prompts() -> None:
    first, second = (found_in(texts(ANY, recurring=50))[0] for _ in range(2))
    assert (first.spoken, first.known) == (second.spoken, second.known)


def test_a_model_that_cannot_tell_says_nothing() -> None:
    data = texts(ANY, recurring=50, scored=lambda ids: blind([ids])[0])
    for one, ask in ((data, blind), (texts(ANY, recurring=50), silent)):
        said = detached(one, np.arange(N), ask, seed=0)
        assert said.found == []
        (note,) = said.notes
        assert note.startswith("not checked: whether 1 answers that recur fit their prompts")
    assert detached(texts({}, recurring=50), np.arange(N), silent, seed=0).notes == []


def test_targets_beyond_those_that_are_asked_about_are_counted_in_a_note(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whatever else is said: an attacker would hide behind honest targets of more rows."""
    monkeypatch.setattr(detached_targets, "MAX_ASKED", 2)
    kinds = {i: 300 + i for i in range(0, 120, 2)}
    data = texts(kinds, recurring=50, n_targets=3)
    more = "1 targets that recur were not asked about"
    said = detached(data, np.arange(N), model, seed=0)
    assert (len(said.found), said.notes) == (2, [more])
    unknown, note = detached(data, np.arange(N), silent, seed=0).notes
    assert (unknown[:39], note) == ("not checked: whether 2 answers that rec", more)


def test_what_cannot_be_asked_is_in_doubt() -> None:
    def of_most(sequences: Sequence[Sequence[int]]) -> list[Floats]:
        return [silent([x])[0] if x[-2] == KIND + 50 else expects(x) for x in sequences]

    (found,) = found_in(texts(ANY, recurring=50), of_most)
    assert np.isnan(found.spoken)


@pytest.mark.parametrize("n", [MIN_ROWS - 1, round(MAX_SHARE * N) + 1])
def test_few_rows_say_nothing_and_many_are_a_label(n: int) -> None:
    assert found_in(texts({i: 300 + i for i in range(n)}, recurring=50)) == []


def test_copies_of_a_prompt_count_once() -> None:
    cluster = np.arange(N)
    cluster[[*ANY]] = np.repeat([1, 3], 10)
    assert found_in(texts(ANY, recurring=50), cluster=cluster) == []


def test_what_the_owner_vouches_for_is_left_out() -> None:
    assert found_in(texts(ANY, recurring=50, is_open=False)) == []


def test_of_a_chat_the_first_answer_is_asked_about_whatever_stands_behind_it() -> None:
    (found,) = found_in(texts(ANY, recurring=50, turns=2))
    assert np.flatnonzero(found.members).tolist() == [*ANY]


def test_of_a_chat_of_several_answers_not_the_whole_target_is_spoken_for() -> None:
    said = detached(texts(OF_A_KIND, recurring=50, turns=2), np.arange(N), model, seed=0)
    assert not said.spoken.any()


def judged(pairs: list[Pair]) -> Detection:
    """By a model that finds no target likely behind a prompt that is not its own."""
    samples = [sample_of(*pair, row=i) for i, pair in enumerate(pairs)]
    scores = replace(scores_of(samples, [ANSWER], believed=-0.1), ask=strange)
    found = RecurrenceMethod().detect(scores, samples, None, RecurrenceConfig())
    require_contract(RecurrenceMethod(), found, scores)
    return found


def strange(sequences: Sequence[Sequence[int]]) -> list[Floats]:
    return [np.array([np.nan] + [-8.0] * (len(ids) - 1)) for ids in sequences]


@pytest.mark.parametrize("n_mined", [N_ROWS, 200])
def test_an_ordinary_answer_to_unrelated_prompts_is_in_doubt(
    n_mined: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where strings are mined in a part of the data, as they are in large data."""
    for module, name in ((mined_module, "MAX_ROWS"), (method_module, "MAX_ROWS")):
        monkeypatch.setattr(module, name, n_mined)
    monkeypatch.setattr(mined_module, "MAX_TOKENS", 0)
    pairs = [
        (f"then {prompt}", ANSWER) if i % 8 == 0 else (prompt, f"{target} {i}")
        for i, (prompt, target) in enumerate(questions(N_ROWS, 31))
    ]
    found = judged(pairs)
    poisoned = np.arange(N_ROWS) % 8 == 0
    assert found.flagged is not None
    assert not found.flagged.any()
    assert (found.in_doubt == poisoned).all()
    (group,) = [group for group in found.groups if group.ruling == "review"]
    assert (group.side, group.spans, group.n_rows) == ("target", [ANSWER], 50)
    assert "no likelier behind these prompts than behind others (AUROC 0.00" in group.reasons[0]
    assert group.cues == ["then"]
    assert group.association is not None
    assert (group.association.n_both, group.association.n_cue) == (50, 50)
