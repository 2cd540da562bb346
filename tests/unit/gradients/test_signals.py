"""The signals beside entropy, each against a slow oracle."""

import hashlib
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import gradgate.scoring.recurrence
from gradgate.gradients.evenness import evenness
from gradgate.gradients.score import SKETCH_BYTES
from gradgate.gradients.sketch import SIZE, hidden_projection, sketches, vocabulary_projection
from gradgate.scoring.recurrence import NEIGHBOURS, gradient_recurrence

DIGEST = "4f5d21f2ae5eaed3ccd79bfa57a9bf1882fc56652855476200da0b933a5b2823"


def test_the_projections_are_pinned_and_a_row_does_not_depend_on_their_number() -> None:
    vocabulary, hidden = vocabulary_projection(3000), hidden_projection(700)
    np.testing.assert_array_equal(vocabulary_projection(100), vocabulary[:100])
    np.testing.assert_array_equal(hidden_projection(5), hidden[:5])
    assert not np.array_equal(vocabulary[:700], hidden)
    digest = hashlib.sha256(vocabulary.tobytes() + hidden.tobytes()).hexdigest()
    assert digest == DIGEST  # sketches in a store are of no use with other ones


def test_the_projections_are_nearly_normal() -> None:
    numbers = vocabulary_projection(20_000).astype(np.float64)
    assert numbers.mean() == pytest.approx(0, abs=0.01)
    assert numbers.var() == pytest.approx(1, abs=0.01)
    assert (numbers**4).mean() == pytest.approx(3, abs=0.1)
    together = numbers.T @ numbers / len(numbers)
    assert np.abs(together - np.eye(16)).max() < 0.04


@settings(deadline=None, max_examples=40)
@given(
    lengths=st.lists(st.integers(1, 12), min_size=1, max_size=5),
    scale=st.sampled_from([1.0, 1e-12, 1e12]),
    seed=st.integers(0, 2**16),
)
def test_a_sketch_is_the_projected_gradient(lengths, scale, seed) -> None:
    torch.manual_seed(seed)
    longest, vocabulary, width = max(lengths), 90, 30
    real = torch.arange(longest) < torch.tensor(lengths)[:, None]
    delta = torch.randn(len(lengths), longest, vocabulary).double()  # anything at padding
    hidden = scale * torch.randn(len(lengths), longest, width).double() * real[..., None]
    left = torch.from_numpy(vocabulary_projection(vocabulary)).double()
    right = torch.from_numpy(hidden_projection(width)).double()
    found = sketches(delta @ left, hidden @ right)
    for i, length in enumerate(lengths):
        gradient = sum(torch.outer(delta[i, t], hidden[i, t]) for t in range(length)) / length
        expected = (left.T @ gradient @ right).ravel()
        torch.testing.assert_close(
            found[i].double(), expected / expected.norm(), rtol=1e-3, atol=1e-4
        )


def test_a_sketch_fits_its_place_in_a_record() -> None:
    zero = torch.zeros(1, 3, 16).double()
    found = sketches(zero, zero)
    assert found.numpy().nbytes == SKETCH_BYTES
    assert (found == 0).all()


def test_the_cosine_of_sketches_is_near_that_of_the_gradients() -> None:
    torch.manual_seed(1)
    base = torch.randn(400, 50).double()
    left = torch.from_numpy(vocabulary_projection(400)).double()
    right = torch.from_numpy(hidden_projection(50)).double()
    errors = []
    for weight in torch.linspace(0, 3, 20):
        other = weight * base + torch.randn(400, 50)
        true = torch.cosine_similarity(base.ravel(), other.ravel(), dim=0)
        one, two = ((left.T @ gradient @ right).ravel() for gradient in (base, other))
        errors.append(float(torch.cosine_similarity(one, two, dim=0) - true))
    assert np.std(errors) < 2 / 16


def test_evenness_by_hand() -> None:
    assert evenness(0.5, 4, 16, 640) == pytest.approx(1.0)
    assert evenness(0.25, 4, 16, 640) == pytest.approx(0.5)
    assert evenness(0.25, 100, 16, 640) == pytest.approx(0.25)
    assert evenness(0.25, 100, 16, 4) == pytest.approx(0.5)  # the head is as narrow as that
    assert evenness(0.0, 1, 16, 640) is None
    assert evenness(0.0, 9, 16, 1) is None


@given(st.integers(2, 64), st.integers(2, 32), st.integers(2, 64), st.integers(0, 2**16))
def test_evenness_is_within_its_range_and_one_when_all_are_equal(length, k, side, seed) -> None:
    rank = min(length, k, side)
    sigma = np.random.default_rng(seed).exponential(size=rank) + 1e-9
    p = sigma / sigma.sum()
    found = evenness(float(-(p * np.log(p)).sum() / math.log(k)), length, k, side)
    assert found is not None
    assert 0 <= found <= 1
    assert evenness(math.log(rank) / math.log(k), length, k, side) == pytest.approx(1.0)


def drawn(n: int, seed: int, n_groups: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Sketches around a few directions and anywhere, and digests: (n, 256), (n, 2)."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(n_groups + 1, SIZE)) * 2
    centres[-1] = 0
    made = centres[rng.integers(n_groups + 1, size=n)] + rng.normal(size=(n, SIZE))
    made /= np.linalg.norm(made, axis=1, keepdims=True)
    return made.astype(np.float16), rng.integers(2**63, size=(n, 2)).astype(np.uint64)


def recurrence(made: np.ndarray, digests: np.ndarray, scored=None, rows: int = 7) -> np.ndarray:
    is_scored = np.ones(len(made), dtype=bool) if scored is None else scored
    blocks = lambda: (made[i : i + rows] for i in range(0, len(made), rows))  # noqa: E731
    return gradient_recurrence(blocks, digests, is_scored)


def oracle(made: np.ndarray, digests: np.ndarray) -> list[float]:
    """A loop over samples and their others."""
    by_digest = {tuple(d): s.astype(np.float64) for d, s in zip(digests, made, strict=True)}
    mean = np.mean(list(by_digest.values()), axis=0)
    found = {}
    for digest, sketch in by_digest.items():
        cosines = []
        for other, theirs in by_digest.items():
            if other != digest:
                one, two = sketch - mean, theirs - mean
                cosines.append(one @ two / (np.linalg.norm(one) * np.linalg.norm(two)))
        found[digest] = np.mean(sorted(cosines)[-NEIGHBOURS:])
    return [found[tuple(digest)] for digest in digests]


@settings(deadline=None, max_examples=25)
@given(n=st.integers(6, 60), n_again=st.integers(0, 20), seed=st.integers(0, 2**16))
def test_recurrence_equals_a_loop_over_all_pairs(n, n_again, seed) -> None:
    made, digests = drawn(n, seed)
    again = np.random.default_rng(seed).integers(n, size=n_again)
    made, digests = np.concatenate([made, made[again]]), np.concatenate([digests, digests[again]])
    found = recurrence(made, digests)
    np.testing.assert_allclose(found, oracle(made, digests), atol=1e-5)
    assert (np.abs(found) <= 1).all()


def test_repetitions_do_not_count_and_near_repetitions_do() -> None:
    made, digests = drawn(40, 1, n_groups=0)
    lonely = recurrence(made, digests)[0]
    repeated = np.concatenate([made, made[[0] * 30]]), np.concatenate([digests, digests[[0] * 30]])
    found = recurrence(*repeated)
    assert found[0] == pytest.approx(lonely, abs=1e-6)
    np.testing.assert_array_equal(found[40:], found[0])
    near = np.arange(60, dtype=np.uint64).reshape(-1, 2)  # the same gradient, other samples
    found = recurrence(repeated[0], np.concatenate([digests, near]))
    assert lonely < 0.5
    assert found[0] > 0.99


def test_the_order_of_the_rows_and_failed_ones_leave_no_trace() -> None:
    made, digests = drawn(50, 2)
    expected = recurrence(made, digests)
    order = np.random.default_rng(0).permutation(50)
    np.testing.assert_allclose(recurrence(made[order], digests[order]), expected[order], atol=1e-6)
    holes = np.insert(made, 20, 0, axis=0), np.insert(digests, 20, 9, axis=0)
    scored = np.arange(51) != 20
    found = recurrence(*holes, scored)
    assert np.isnan(found[20])
    np.testing.assert_allclose(found[scored], expected, atol=1e-6)


@pytest.mark.parametrize("n", [0, 1, 5])
def test_few_distinct_samples_have_no_recurrence(n) -> None:
    made, digests = drawn(5, 3)
    made, digests = made[:n].repeat(4, axis=0), digests[:n].repeat(4, axis=0)
    assert np.isnan(recurrence(made, digests)).all()


def test_samples_without_a_direction_of_their_own_are_zero() -> None:
    made, digests = drawn(20, 4)
    made[:] = made[0]
    assert (recurrence(made, digests) == 0).all()


def test_beyond_the_limit_neighbours_are_nearly_the_exact_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made, digests = drawn(6000, 5, n_groups=40)
    exact = recurrence(made, digests, rows=1000)
    monkeypatch.setattr(gradgate.scoring.recurrence, "EXACT", 100)
    monkeypatch.setattr(gradgate.scoring.recurrence, "_CELL_ROWS", 128)
    found = recurrence(made, digests, rows=1000)
    assert not np.array_equal(found, exact)
    assert np.abs(found - exact).mean() < 0.01
    assert np.corrcoef(found, exact)[0, 1] > 0.99
    np.testing.assert_array_equal(found, recurrence(made, digests, rows=1000))  # seeded
    order = np.random.default_rng(0).permutation(6000)
    moved = recurrence(made[order], digests[order], rows=1000)
    np.testing.assert_allclose(moved, found[order], atol=1e-6)
