"""Whether rows are contradicted more often than a reference, and which."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pytest

from gradgate.methods.rehearsal.cut import ALPHA_CUT, MIN_CONTRADICTED, Cut, cuts
from gradgate.methods.rehearsal.predicting import Contradicted


def said(nats: npt.ArrayLike, pairs: Sequence[tuple[int, int]] = ()) -> Contradicted:
    """Contradictions by so many nats; of tokens that differ where no pairs are given."""
    nats = np.asarray(nats, float)
    tokens = pairs or [(2 * i, 2 * i + 1) for i in range(len(nats))]
    expected, found = np.array(tokens).T
    return Contradicted(nats, np.ones(len(nats), np.int64), expected, found)


def only(reference: npt.ArrayLike, rows: npt.ArrayLike) -> Cut:
    (found,) = cuts(said(reference), said(rows))
    return found


def test_rows_beyond_the_reference_are_too_many() -> None:
    rng = np.random.default_rng(0)
    reference = rng.normal(-3, 1, 150)
    rows = np.concatenate([rng.normal(-3, 1, 270), rng.normal(6, 1, 30)])
    found = only(reference, rows)
    assert found.counts
    assert found.tokens is None
    assert (found.rows == (rows > found.nats)).all()
    assert found.rows[270:].all()
    assert found.n_reference_above == int((reference > found.nats).sum()) <= 1
    assert found.p_value < 1e-4
    assert found.in_words(str) == (
        f"models trained on the reference contradict {found.rows.sum()} of 300 rows, and "
        f"{found.n_reference_above} of 150 samples of the reference that they have not seen either "
        f"(by more than {found.nats:.1f} nats; p {found.p_value:.2g})"
    )


def test_one_token_for_another_is_too_often_where_other_rows_hide_it() -> None:
    rng = np.random.default_rng(0)
    reference, rows = rng.normal(0, 3, 150), rng.normal(0, 3, 300)
    rows[:30] = rng.uniform(0.1, 2.0, 30)
    hidden = only(reference, rows)
    assert not hidden.counts
    pairs = [(5, 7)] * 30 + [(1_000 + i, 2_000 + i) for i in range(270)]
    seen = [(3_000 + i, 4_000 + i) for i in range(149)] + [(5, 7)]
    (found,) = cuts(said(reference, seen), said(rows, pairs))
    assert found.counts
    assert (found.tokens, found.nats) == ((5, 7), 0.0)
    assert np.flatnonzero(found.rows).tolist() == list(range(30))
    assert "(where they expect '[5]' and find '[7]'; p " in found.in_words(str)


def test_a_pair_that_the_reference_has_as_often_says_nothing() -> None:
    reference, rows = np.full(150, -1.0), np.full(300, -1.0)
    reference[:15], rows[:30] = 2.0, 2.0
    pairs = [(5, 7)] * 30 + [(1, 2)] * 270
    (found,) = cuts(said(reference, [(5, 7)] * 15 + [(1, 2)] * 135), said(rows, pairs))
    assert not found.counts


@pytest.mark.parametrize("shape", ["normal", "cauchy", "ties", "pairs"])
def test_rows_drawn_like_the_reference_are_rarely_too_many(shape: str) -> None:
    rng = np.random.default_rng(1)
    n_counting = 0
    for _ in range(400):
        drawn = {
            "normal": rng.normal(2, 3, 450),
            "cauchy": rng.standard_cauchy(450),
            "ties": rng.integers(-2, 3, 450).astype(float),
            "pairs": rng.normal(0, 3, 450),
        }[shape]
        pairs = [(one, one) for one in rng.geometric(0.05, 450).tolist()]
        of = (pairs[:150], pairs[150:]) if shape == "pairs" else ((), ())
        n_counting += cuts(said(drawn[:150], of[0]), said(drawn[150:], of[1]))[0].counts
    assert n_counting <= 400 * ALPHA_CUT + 6  # three deviations above what the test promises


def test_a_row_whose_own_tokens_are_the_likeliest_is_not_contradicted() -> None:
    found = only(np.full(150, -9.0), np.full(300, -1.0))  # less sure, and nothing else
    assert not found.counts
    assert (found.nats, found.rows.sum(), found.p_value) == (0.0, 0, 1.0)


def test_a_few_rows_say_nothing_however_far_they_are() -> None:
    reference = np.full(10_000, -3.0)
    rows = np.full(20, -3.0)
    rows[: MIN_CONTRADICTED - 1] = 50.0
    assert only(reference, rows).p_value < ALPHA_CUT
    assert not only(reference, rows).counts
    rows[MIN_CONTRADICTED - 1] = 50.0
    assert only(reference, rows).counts


def test_most_of_the_rows_have_to_be_more_than_the_reference_makes_expect() -> None:
    rows = np.concatenate([np.full(320, 20.0), np.full(200_000, -3.0)])  # 1.6 in 1,000
    nearly = np.concatenate([np.full(16, 20.0), [19.0], np.full(20_000, -3.0)])  # 0.8
    near = only(nearly, rows)
    assert (near.n_reference_above, near.rows.sum()) == (16, 320)
    assert near.p_value < ALPHA_CUT
    assert not near.counts  # 170 were to be expected, more than a half
    nearly[:16] = 18.0
    assert only(nearly, rows).counts


def test_a_small_reference_and_a_small_part_of_the_rows_say_nothing() -> None:
    rows = np.concatenate([np.full(3_000, -3.0), np.full(60, 9.0)])  # 2 %
    assert not only(np.full(150, -3.0), rows).counts
    assert only(np.full(512, -3.0), rows).counts
