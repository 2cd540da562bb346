import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gradgate.spectrum import (
    MISSING,
    LogitTransform,
    gram,
    singular_values,
    spectral_entropy,
    token_loss,
)


def dense(delta: torch.Tensor, hidden: torch.Tensor, k: int) -> np.ndarray:
    """The oracle: the gradient as a matrix, and its full SVD."""
    gradient = delta.double().T @ hidden.double() / len(delta)
    sigma = np.linalg.svd(gradient.numpy(), compute_uv=False)[:k]
    rank = min(*delta.shape, hidden.shape[1], k)
    return np.maximum(np.pad(sigma[:rank], (0, k - rank)), MISSING)


@settings(deadline=None, max_examples=60)
@given(
    lengths=st.lists(st.integers(1, 40), min_size=1, max_size=5),
    vocabulary=st.integers(2, 90),
    width=st.integers(1, 30),
    k=st.integers(2, 24),
    seed=st.integers(0, 2**16),
)
def test_padded_batch_equals_the_dense_svd_of_each_sample(lengths, vocabulary, width, k, seed):
    torch.manual_seed(seed)
    longest = max(lengths)
    mask = torch.arange(longest) < torch.tensor(lengths)[:, None]
    delta = torch.randn(len(lengths), longest, vocabulary) * mask[..., None]
    hidden = torch.randn(len(lengths), longest, width) * mask[..., None]
    found = singular_values(delta, hidden, torch.tensor(lengths), k)
    for i, length in enumerate(lengths):
        expected = dense(delta[i, :length], hidden[i, :length], k)
        # a Gram matrix resolves singular values down to 1e-8 of the largest
        np.testing.assert_allclose(found[i].numpy(), expected, rtol=1e-5, atol=3e-7 * expected[0])


def test_more_singular_values_than_the_rank_count_as_missing():
    sigma = singular_values(torch.ones(1, 1, 8), torch.ones(1, 1, 4), torch.tensor([1]), 16)
    assert sigma[0, 0].item() == pytest.approx(math.sqrt(32))
    assert (sigma[0, 1:] == MISSING).all()


def test_gram_in_chunks_is_the_gram_matrix():
    rows = torch.randn(2, 3, 20_000)
    expected = rows.double() @ rows.double().mT
    torch.testing.assert_close(gram(rows), expected, rtol=1e-12, atol=1e-9)


def test_entropy_of_equal_singular_values_is_one_and_of_a_single_one_is_zero():
    flat = torch.full((1, 16), 0.3, dtype=torch.float64)
    single = torch.full((1, 16), MISSING, dtype=torch.float64)
    single[0, 0] = 1.0
    assert spectral_entropy(flat).item() == pytest.approx(1.0)
    assert spectral_entropy(single).item() == pytest.approx(0.0, abs=1e-9)


def test_entropy_by_hand():
    sigma = torch.tensor([[3.0, 1.0, MISSING, MISSING]], dtype=torch.float64)
    by_hand = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25)) / math.log(4)
    assert spectral_entropy(sigma).item() == pytest.approx(by_hand, abs=1e-9)


def test_a_vanishing_gradient_has_no_entropy():
    sigma = singular_values(torch.zeros(1, 3, 8), torch.ones(1, 3, 4), torch.tensor([3]), 4)
    assert spectral_entropy(sigma).isnan().all()


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_one_sample_that_is_not_finite_leaves_the_others_alone(bad):
    torch.manual_seed(0)
    delta, hidden = torch.randn(3, 4, 10), torch.randn(3, 4, 6)
    lengths = torch.tensor([4, 4, 4])
    clean = singular_values(delta, hidden, lengths, 4)
    delta[1, 2, 3] = bad
    found = singular_values(delta, hidden, lengths, 4)
    assert found[1].isnan().all()
    torch.testing.assert_close(found[[0, 2]], clean[[0, 2]])
    assert spectral_entropy(found).isnan().tolist() == [False, True, False]


@pytest.mark.parametrize(
    "transform",
    [LogitTransform(), LogitTransform(cap=5.0), LogitTransform(0.0625), LogitTransform(3.0, 4.0)],
)
@pytest.mark.parametrize("n_columns", [5, 40])
def test_delta_and_loss_equal_autograd(transform, n_columns):
    torch.manual_seed(1)
    z = (torch.randn(2, 7, 40, dtype=torch.float64) * 4).requires_grad_(True)
    targets = torch.randint(40, (2, 7))
    mask = torch.tensor([[True] * 7, [True] * 4 + [False] * 3])
    losses = torch.nn.functional.cross_entropy(
        transform(z).flatten(0, 1), targets.flatten(), reduction="none"
    ).view(2, 7)
    (expected,) = torch.autograd.grad((losses * mask).sum(), z)
    found = token_loss(transform(z).detach(), targets, mask, n_columns, transform)
    torch.testing.assert_close(found.delta, expected[..., :n_columns])
    torch.testing.assert_close(found.loss, (losses * mask).detach())


def test_delta_of_an_almost_certain_token_keeps_its_digits():
    logits = torch.zeros(1, 1, 3)
    logits[..., 0] = 20.0
    found = token_loss(
        logits,
        torch.zeros(1, 1, dtype=torch.long),
        torch.ones(1, 1, dtype=bool),
        3,
        LogitTransform(),
    )
    p_other = math.exp(-20.0)
    assert found.delta[0, 0, 0].item() == pytest.approx(-2 * p_other, rel=1e-3, abs=2e-7)
    assert found.delta[0, 0, 1].item() == pytest.approx(p_other, rel=1e-3)
