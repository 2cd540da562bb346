"""The prefix tree as one row of tokens, against a tree that is built of dictionaries."""

from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradgate.data.tokens import Tokens
from gradgate.errors import DataError
from gradgate.gradients.predicting import predicting_ids, predicting_positions
from gradgate.gradients.prefix_tree.layout import Layout, RowsLimit, lay_out
from gradgate.gradients.prefix_tree.stretches import shared_length, stretches

LIMIT = RowsLimit(10**9, 1, 1)
SAMPLES = st.lists(
    st.lists(st.integers(0, 2), min_size=2, max_size=40), min_size=1, max_size=25
)  # three tokens only, so that much is shared


def all_supervised(rows: list[list[int]]) -> list[Tokens]:
    return [Tokens(row, [True] * len(row)) for row in sorted(rows)]


def nodes(rows: list[list[int]]) -> set[tuple[int, ...]]:
    """The nodes of the prefix tree that predict something, each named by its path."""
    return {tuple(row[:i]) for row in rows for i in range(1, len(row))}


@settings(deadline=None, max_examples=150)
@given(rows=SAMPLES, n_tokens=st.integers(1, 50))
def test_every_node_is_computed_once(rows: list[list[int]], n_tokens: int) -> None:
    cut = list(stretches(all_supervised(rows), n_tokens))
    assert sum(len(stretch.tokens) for stretch in cut) == len(nodes(rows))
    assert all(len(stretch.tokens) == n_tokens for stretch in cut[:-1])
    assert sum(len(stretch.finished) for stretch in cut) == len(rows)


@settings(deadline=None, max_examples=150)
@given(
    rows=SAMPLES,
    n_tokens=st.integers(1, 50),
    halve=st.booleans(),
    max_keys=st.integers(1, 300),
    chunk=st.integers(1, 80),
)
def test_every_token_sees_its_path_and_nothing_else(
    rows: list[list[int]], n_tokens: int, halve: bool, max_keys: int, chunk: int
) -> None:
    with mock.patch("gradgate.gradients.prefix_tree.layout._MIN_CHUNK_TOKENS", chunk):
        check_layouts(rows, n_tokens, halve, RowsLimit(max_keys, 1, 0))


def check_layouts(rows: list[list[int]], n_tokens: int, halve: bool, limit: RowsLimit) -> None:
    seen: set[tuple[int, ...]] = set()
    found: list[list[int]] = []
    space: list[tuple[int, ...]] = []  # the path of every index
    carried: list[int] = []
    samples = all_supervised(rows)
    for whole in stretches(samples, n_tokens):
        for stretch in whole.halves() if halve and len(whole.tokens) > 1 else (whole,):
            layout = lay_out(stretch, limit)
            space = [space[i] for i in carried]
            assert len(space) == layout.n_carried
            n = layout.n_carried
            space += [()] * len(stretch.tokens)
            last_tokens = [path[-1] for path in space[:n]] + stretch.tokens.tolist()
            sees = visible(layout, len(stretch.tokens))
            for query in range(len(stretch.tokens)):
                keys = sorted(sees[query])
                space[n + query] = tuple(last_tokens[key] for key in keys)
                assert len(keys) == stretch.depths[query] + 1
                assert keys[-1] == n + query
                assert all(space[key] == space[n + query][: i + 1] for i, key in enumerate(keys))
            seen |= set(space)
            for done, at in zip(stretch.finished, layout.predicting, strict=True):
                ids = done.sample.input_ids
                assert [space[i] for i in at] == [tuple(ids[: i + 1]) for i in range(len(ids) - 1)]
                found.append(ids)
            carried = layout.carried_on.tolist()
    assert seen == nodes(rows)
    assert found == [sample.input_ids for sample in samples]


def visible(layout: Layout, n_tokens: int) -> list[set[int]]:
    """What each token may look at by the rule that the attention goes by."""
    sees: list[set[int]] = [set() for _ in range(n_tokens)]
    for rows in layout.rows:
        for queries, keys, length in zip(rows.queries, rows.keys, rows.lengths, strict=True):
            for query in queries:
                at = query + layout.n_carried
                real = keys[:length]
                assert len(set(real.tolist())) == length  # no key counts twice
                assert not sees[query]  # every token is a query once
                sees[query] = {int(k) for k in real if k <= at < layout.below[k]}
    return sees


def test_a_long_chunk_is_taken_where_the_path_is_long() -> None:
    (stretch,) = stretches(all_supervised([list(range(3000))]), 4000)
    lengths = {rows.queries.shape[1] for rows in lay_out(stretch, LIMIT).rows}
    assert {64, 128, 256} <= lengths


@pytest.mark.parametrize(
    ("one", "other", "n"),
    [([], [1], 0), ([1, 2], [1, 2], 2), ([1, 2], [1, 2, 3], 2), ([1, 5], [1, 6], 1), ([2], [1], 0)],
)
def test_shared_length(one: list[int], other: list[int], n: int) -> None:
    assert shared_length(np.array(one, dtype=np.int64), np.array(other, dtype=np.int64)) == n


def test_the_first_token_is_never_predicted() -> None:
    assert predicting_positions(Tokens([5, 6, 7], [True, False, True])).tolist() == [1]


def test_what_predicts_nothing_is_not_computed() -> None:
    some = Tokens([5, 6, 7, 8, 9], [False, False, True, False, False])
    assert predicting_ids(some) == [5, 6]
    assert predicting_ids(Tokens([5, 6], [True, True])) == [5]
    (stretch,) = stretches([some], 100)
    assert stretch.tokens.tolist() == [5, 6]


@settings(deadline=None, max_examples=150)
@given(rows=SAMPLES, n_tokens=st.integers(1, 50), seed=st.integers(0, 2**16))
def test_a_sample_that_is_cut_short_leaves_the_path_to_the_others(
    rows: list[list[int]], n_tokens: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    samples = [
        Tokens(row, [i == at for i in range(len(row))])
        for row in sorted(rows)
        for at in [int(rng.integers(1, len(row)))]
    ]
    wanted = {
        tuple(s.input_ids[:i]) for s in samples for i in range(1, s.is_target.index(True) + 1)
    }
    cut = list(stretches(samples, n_tokens))
    assert sum(len(stretch.tokens) for stretch in cut) == len(wanted)
    at = [layout for stretch in cut for layout in lay_out(stretch, LIMIT).predicting]
    assert len(at) == len(samples)


def test_a_sample_that_predicts_nothing_is_an_error() -> None:
    with pytest.raises(DataError, match="without a supervised token"):
        list(stretches([Tokens([1, 5, 6], [True, False, False])], 10))


def test_chunks_that_attend_together_stay_within_the_limit() -> None:
    (stretch,) = stretches(all_supervised([list(range(900))]), 4000)
    limit = RowsLimit(200_000, 10, 2)
    layout = lay_out(stretch, limit)
    sizes = [(*rows.queries.shape, rows.keys.shape[1]) for rows in layout.rows]
    assert any(n_chunks > 1 for n_chunks, _, _ in sizes)
    assert all(n_chunks == 1 or limit.fits(n_chunks, q, keys) for n_chunks, q, keys in sizes)
