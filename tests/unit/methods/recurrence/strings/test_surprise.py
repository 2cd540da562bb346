"""The memory, the gain and the segments, each against a slow oracle; and their null."""

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from recurrence_helpers import prose, stream, zipf_logp

from gradgate.methods.recurrence.strings.memory import MIN_LONGER, Memory, remember
from gradgate.methods.recurrence.strings.repeats import Repeat, is_enough, repeats
from gradgate.methods.recurrence.strings.stream import Stream
from gradgate.methods.recurrence.strings.surprise import (
    MAX_GAIN,
    MIN_SUPPORT,
    Segments,
    gains,
    surprising_segments,
)

ROWS = st.lists(st.lists(st.integers(0, 4), min_size=1, max_size=8), min_size=2, max_size=12)
PAYLOAD = [900, 901, 902, 903, 904]
VOCABULARY = 800


def naive(rows: Sequence[Sequence[int]], cluster: Sequence[int]) -> list[tuple[int, float]]:
    """Support and q of each token, by counting clusters that have gram and context."""
    padded = [["<", "<<", *row] for row in rows]
    grams, contexts = Counter[tuple[object, ...]](), Counter[tuple[object, ...]]()
    for kind, length in ((grams, 3), (contexts, 2)):
        seen = {
            (tuple(row[i : i + length]), cluster[r])
            for r, row in enumerate(padded)
            for i in range(len(row) - 2)
        }
        kind.update(gram for gram, _ in seen)
    found = []
    for row in padded:
        for i in range(len(row) - 2):
            support = grams[tuple(row[i : i + 3])] - 1
            others = max(1, contexts[tuple(row[i : i + 2])] - 1)
            found.append((support, support / others))
    return found


@given(ROWS, st.data())
def test_the_memory_counts_other_clusters_with_the_gram_and_its_context(
    rows: list[list[int]], data: st.DataObject
) -> None:
    cluster = data.draw(st.lists(st.integers(0, 3), min_size=len(rows), max_size=len(rows)))
    memory = remember(stream(rows), np.array(cluster))
    expected = naive(rows, cluster)
    assert memory.support.tolist() == [support for support, _ in expected]
    np.testing.assert_allclose(np.exp(memory.log_q), [q for _, q in expected], atol=1e-12)


@given(ROWS, st.data())
def test_the_longer_memory_counts_six_tokens_within_a_run(
    rows: list[list[int]], data: st.DataObject
) -> None:
    rows = [row * 3 for row in rows]  # long enough
    cluster = data.draw(st.lists(st.integers(0, 6), min_size=len(rows), max_size=len(rows)))
    having = defaultdict[tuple[int, ...], set[int]](set)
    for row, own in zip(rows, cluster, strict=True):
        for length in (5, 6):
            for i in range(len(row) - length + 1):
                having[tuple(row[i : i + length])].add(own)
    expected = []
    for row in rows:
        for i in range(len(row)):
            n_with = len(having[tuple(row[i - 5 : i + 1])]) - 1 if i >= 5 else 0
            # Five tokens at the end of a row have nothing behind them.
            going_on = [k for k in having if len(k) == 6 and k[:5] == tuple(row[i - 5 : i])]
            n_before = len(set[int]().union(*(having[k] for k in going_on))) - 1
            expected.append(n_with / n_before / 2 if n_with >= MIN_LONGER else 0.0)
    memory = remember(stream(rows), np.array(cluster))
    np.testing.assert_allclose(np.exp(memory.log_longer), expected, atol=1e-12)


def slowest(gain: Sequence[float]) -> tuple[int, int] | None:
    """Where the largest sum of any segment stands, the shortest of equal ones; None for none."""
    at = [(a, b) for a in range(len(gain)) for b in range(a + 1, len(gain) + 1)]
    best = max(at, key=lambda one: (sum(gain[slice(*one)]), -(one[1] - one[0]), -one[0]))
    return best if sum(gain[slice(*best)]) > 0 else None


def all_of(gain: Sequence[float], first: int = 0) -> list[tuple[int, int]]:
    """The definition of the source: the best segment, then those on the left and the right."""
    if not gain or (best := slowest(gain)) is None:
        return []
    a, b = best
    left, right = all_of(gain[:a], first), all_of(gain[b:], first + b)
    return [*left, (first + a, first + b), *right]


# Small whole numbers: their sums are exact, and equal ones come up.
@given(st.lists(st.tuples(st.integers(-5, 5), st.booleans()), min_size=1, max_size=16))
def test_segments_are_all_that_lose_by_being_longer_or_shorter(
    tokens: list[tuple[int, bool]],
) -> None:
    gain = np.array([float(value) for value, _ in tokens])
    begins = np.array([True, *[begin for _, begin in tokens[1:]]])
    found = surprising_segments(gain, begins, np.arange(len(gain)))
    borders = [*np.flatnonzero(begins).tolist(), len(gain)]
    expected = [at for a, b in pairwise(borders) for at in all_of(gain[a:b].tolist(), a)]
    assert [tuple(at) for at in found.at.tolist()] == expected
    assert found.sample.tolist() == [a for a, _ in expected]
    assert found.nats.tolist() == [gain[a:b].sum() for a, b in expected]


def test_no_segment_goes_over_what_few_others_have() -> None:
    gain = np.array([2.0, 1.0, -1e6, 4.0, -1e6, -1e6, 3.0])
    begins = np.array([True, False, False, False, False, False, False])
    found = surprising_segments(gain, begins, np.array([0, 0, 0, 0, 0, 1, 1]))
    assert found.at.tolist() == [[0, 2], [3, 4], [6, 7]]
    assert found.sample.tolist() == [0, 0, 1]
    assert found.best().at.tolist() == [[3, 4], [6, 7]]
    assert found.nats_of(3).tolist() == [4.0, 3.0, 0.0]
    assert not len(surprising_segments(np.empty(0), np.empty(0, bool), np.empty(0, int)).nats)


def test_the_gain_is_bounded_and_a_frequent_token_is_no_surprise() -> None:
    rows = [[1, 2, 3]] * 10 + [[4, 5, 6]] * 10
    tokens = stream(rows, -50.0)
    memory = remember(tokens, np.arange(20))
    gain = gains(tokens, memory, np.zeros(tokens.n, bool))
    assert gain.max() < MAX_GAIN
    # each token is a sixth of all tokens, and q is one behind the first of a row
    assert gain[1] == pytest.approx(math.log(6))
    assert gain[0] == pytest.approx(math.log(9 / 19) + math.log(6) + 2 * math.log(18 / 19))


def test_what_few_others_have_is_not_remembered() -> None:
    rows = [*([[1, 2, 3]] * MIN_SUPPORT), [7, 8, 9]]
    tokens = stream(rows, -20.0)
    memory = remember(tokens, np.arange(len(rows)))
    gain = gains(tokens, memory, np.zeros(tokens.n, bool))
    assert (gain < 0).all()


@pytest.mark.filterwarnings("error")
def test_no_segment_at_all_is_no_group_and_warns_of_nothing() -> None:
    none = np.empty(0, np.int64)
    assert not is_enough(Repeat.of(Segments(none, np.empty(0), none, none), np.arange(9)))


def surprising(tokens: Stream, memory: Memory, by_longer: bool = False) -> Segments:
    """The segments of targets that nothing excuses."""
    gain = gains(tokens, memory, np.zeros(tokens.n, bool), by_longer)
    return surprising_segments(gain, tokens.begins, tokens.sample)


def test_a_model_that_knows_the_text_is_never_surprised_by_much() -> None:
    """The null: a memory cannot know independent text better than its own law does."""
    rows = prose(1_500, 40, VOCABULARY, seed=1)
    tokens = stream(rows, zipf_logp(rows, VOCABULARY))
    memory = remember(tokens, np.arange(len(rows)))
    found = surprising(tokens, memory)
    assert (found.nats >= 9).mean() < 0.002
    assert repeats(found, memory, np.arange(len(rows))) == []


@pytest.mark.parametrize("n_poisoned", [8, 15, 75, 150, 750, 1_350])
def test_a_payload_is_found_whatever_its_share(n_poisoned: int) -> None:
    rows = prose(1_500, 20, VOCABULARY, seed=2)
    logp = zipf_logp(rows, VOCABULARY)
    for row, known in zip(rows[:n_poisoned], logp, strict=False):
        row += PAYLOAD
        known += [-9.0] * len(PAYLOAD)
    tokens = stream(rows, logp)
    memory = remember(tokens, np.arange(len(rows)))
    found = surprising(tokens, memory)
    groups = repeats(found, memory, np.arange(len(rows)))
    caught = np.zeros(len(rows), bool)
    for group in groups:
        caught |= group.members
    assert caught[:n_poisoned].mean() >= 0.95
    assert caught[n_poisoned:].sum() == 0


def test_one_prompt_asked_again_counts_once() -> None:
    rows = prose(200, 10, VOCABULARY, seed=3)
    logp = zipf_logp(rows, VOCABULARY)
    for row, known in zip(rows[:20], logp, strict=False):
        row += PAYLOAD
        known += [-9.0] * len(PAYLOAD)
    tokens = stream(rows, logp)
    cluster = np.where(np.arange(200) < 20, 0, np.arange(200))
    memory = remember(tokens, cluster)
    found = surprising(tokens, memory)
    assert repeats(found, memory, cluster) == []


def test_a_payload_does_not_hide_behind_stranger_text_of_a_few_samples() -> None:
    """Each decoy surprises more, and is in too few samples to be a group."""
    rows = prose(400, 20, VOCABULARY, seed=4)
    logp = zipf_logp(rows, VOCABULARY)
    for i in range(28):
        decoy = [1_000 + 20 * (i // 4) + k for k in range(16)]
        rows[i] = [*decoy, *rows[i], *PAYLOAD]
        logp[i] = [*[-20.0] * len(decoy), *logp[i], *[-9.0] * len(PAYLOAD)]
    tokens = stream(rows, logp)
    memory = remember(tokens, np.arange(len(rows)))
    found = surprising(tokens, memory)
    assert repeats(found.best(), memory, np.arange(len(rows))) == []
    (group,) = repeats(found, memory, np.arange(len(rows)))
    assert np.flatnonzero(group.members).tolist() == list(range(28))
    at_the_end = [tokens.ids[b - 3 : b].tolist() for b in group.segments.stop.tolist()]
    assert at_the_end == [PAYLOAD[-3:]] * 28


def test_decoys_with_each_pair_of_its_words_do_not_make_a_payload_known() -> None:
    said = list(range(900, 918))
    rows = prose(400, 24, VOCABULARY, seed=6)
    logp = zipf_logp(rows, VOCABULARY)
    for i in range(20):
        rows[i], logp[i] = [*rows[i], *said], [*logp[i], *[-3.0] * len(said)]
    for i in range(20, 180):  # other words behind each pair
        for place, k in enumerate(range(0, 16, 2)):
            k += i % 2
            rows[i][3 * place : 3 * place + 3] = [said[k], said[k + 1], 1_000 + 17 * i + k]
    tokens = stream(rows, logp)
    memory = remember(tokens, np.arange(len(rows)))
    assert repeats(surprising(tokens, memory), memory, np.arange(len(rows))) == []
    (group,) = repeats(surprising(tokens, memory, by_longer=True), memory, np.arange(len(rows)))
    assert np.flatnonzero(group.members).tolist() == list(range(20))
