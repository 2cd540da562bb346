"""The memory, the gain and the best segment, each against a slow oracle; and their null."""

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from recurrence_helpers import prose, stream, zipf_logp

from gradgate.methods.recurrence.memory import remember
from gradgate.methods.recurrence.repeats import repeats
from gradgate.methods.recurrence.surprise import MAX_GAIN, MIN_SUPPORT, best_segments, gains

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


def slowest(gain: Sequence[float], begins: Sequence[bool]) -> float:
    """The largest sum of any segment within a run, or 0."""
    best = 0.0
    for start in range(len(gain)):
        for stop in range(start + 1, len(gain) + 1):
            if not any(begins[start + 1 : stop]):
                best = max(best, math.fsum(gain[start:stop]))
    return best


@given(st.lists(st.tuples(st.floats(-9, 9), st.booleans()), min_size=1, max_size=12))
def test_the_best_segment_is_the_best_of_all_segments(tokens: list[tuple[float, bool]]) -> None:
    gain = np.array([value for value, _ in tokens])
    begins = np.array([begin for _, begin in tokens])
    found = best_segments(gain, begins, np.zeros(len(gain), np.int64), 1)
    assert found.nats[0] == pytest.approx(slowest(gain.tolist(), begins.tolist()), abs=1e-9)
    inside = gain[found.start[0] : found.stop[0]]
    assert inside.sum() == pytest.approx(found.nats[0], abs=1e-9)


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


def test_a_model_that_knows_the_text_is_never_surprised_by_much() -> None:
    """The null: a memory cannot know independent text better than its own law does."""
    rows = prose(1_500, 40, VOCABULARY, seed=1)
    tokens = stream(rows, zipf_logp(rows, VOCABULARY))
    memory = remember(tokens, np.arange(len(rows)))
    found = best_segments(
        gains(tokens, memory, np.zeros(tokens.n, bool)), tokens.begins, tokens.sample, len(rows)
    )
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
    found = best_segments(
        gains(tokens, memory, np.zeros(tokens.n, bool)), tokens.begins, tokens.sample, len(rows)
    )
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
    found = best_segments(
        gains(tokens, memory, np.zeros(tokens.n, bool)), tokens.begins, tokens.sample, len(rows)
    )
    assert repeats(found, memory, cluster) == []
