import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import gradgate.gradients.spectrum
from gradgate.gradients.spectrum import (
    ENTROPY_BOUND,
    MISSING,
    Gram,
    Moment,
    Spectrum,
    products,
    spectral_entropy,
)


def spectrum(
    delta: torch.Tensor, hidden: torch.Tensor, lengths: torch.Tensor, k: int, kind: type = Gram
) -> Spectrum:
    sums = kind(hidden.double())
    for piece in delta.double().split(20, dim=2):
        sums.add(piece)
    return sums.spectrum(lengths, delta.shape[-1], k)


def singular_values(
    delta: torch.Tensor, hidden: torch.Tensor, lengths: torch.Tensor, k: int, kind: type = Gram
) -> torch.Tensor:
    return spectrum(delta, hidden, lengths, k, kind).sigma


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
    kind=st.sampled_from([Gram, Moment]),
)
def test_padded_batch_equals_the_dense_svd_of_each_sample(
    lengths, vocabulary, width, k, seed, kind
) -> None:
    torch.manual_seed(seed)
    longest = max(lengths)
    mask = torch.arange(longest) < torch.tensor(lengths)[:, None]
    delta = torch.randn(len(lengths), longest, vocabulary) * mask[..., None]
    hidden = torch.randn(len(lengths), longest, width) * mask[..., None]
    found = singular_values(delta, hidden, torch.tensor(lengths), k, kind)
    for i, length in enumerate(lengths):
        expected = dense(delta[i, :length], hidden[i, :length], k)
        # a Gram matrix resolves singular values down to 1e-8 of the largest
        np.testing.assert_allclose(found[i].numpy(), expected, rtol=1e-5, atol=3e-7 * expected[0])


def test_more_singular_values_than_the_rank_count_as_missing() -> None:
    sigma = singular_values(torch.ones(1, 1, 8), torch.ones(1, 1, 4), torch.tensor([1]), 16)
    assert sigma[0, 0].item() == pytest.approx(math.sqrt(32))
    assert (sigma[0, 1:] == MISSING).all()


def test_the_smaller_product_is_taken() -> None:
    assert isinstance(products(torch.zeros(1, 40, 30)), Gram)
    assert isinstance(products(torch.zeros(1, 60, 30)), Moment)


@pytest.mark.parametrize("kind", [Gram, Moment])
def test_the_norm_is_that_of_all_singular_values(kind) -> None:
    torch.manual_seed(2)
    delta, hidden = torch.randn(2, 9, 30), torch.randn(2, 9, 7)
    found = spectrum(delta, hidden, torch.tensor([9, 9]), 3, kind)
    for i in range(2):
        gradient = delta[i].double().T @ hidden[i].double() / 9
        assert found.norm[i].item() == pytest.approx(gradient.norm().item(), rel=1e-9)


@pytest.mark.parametrize(("length", "width"), [(90, 64), (64, 90), (150, 149)])
@pytest.mark.parametrize("decay", [0.0, 0.7, 3.0])
@pytest.mark.parametrize("kind", [Gram, Moment])
def test_the_leading_part_is_that_of_the_whole(
    monkeypatch: pytest.MonkeyPatch, length, width, decay, kind
) -> None:
    torch.manual_seed(3)
    scale = torch.arange(1, length + 1) ** -decay
    mixed = torch.linalg.qr(torch.randn(length, length)).Q * scale
    delta, hidden = mixed @ torch.randn(length, 200), torch.randn(length, width)
    expected = dense(delta, hidden, 16)
    monkeypatch.setattr(gradgate.gradients.spectrum, "DENSE", 32)  # what follows is block Lanczos
    (found,) = singular_values(delta[None], hidden[None], torch.tensor([length]), 16, kind)
    p = torch.tensor(expected)[None]
    assert spectral_entropy(found[None]).item() == pytest.approx(
        spectral_entropy(p).item(), abs=10 * ENTROPY_BOUND
    )
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-3, atol=1e-6 * expected[0])


def test_a_long_target_of_low_rank_has_that_rank(monkeypatch: pytest.MonkeyPatch) -> None:
    """A row that is repeated over and over, as in boilerplate, leaves few directions."""
    torch.manual_seed(4)
    delta = torch.randn(3, 200).repeat(40, 1)
    hidden = torch.randn(3, 70).repeat(40, 1)
    monkeypatch.setattr(gradgate.gradients.spectrum, "DENSE", 32)
    products: list[int] = []
    operator = gradgate.gradients.spectrum._product

    def counted(gram, states):
        product = operator(gram, states)

        def counting(block):
            products.append(1)
            return product(block)

        return counting

    monkeypatch.setattr(gradgate.gradients.spectrum, "_product", counted)
    (found,) = singular_values(delta[None], hidden[None], torch.tensor([120]), 16)
    assert len(products) <= 2  # it does not go on in search of what is not there
    expected = dense(delta, hidden, 16)
    np.testing.assert_allclose(found[:3].numpy(), expected[:3], rtol=1e-6)
    assert (found[3:] < 1e-6 * found[0]).all()


def test_entropy_of_equal_singular_values_is_one_and_of_a_single_one_is_zero() -> None:
    flat = torch.full((1, 16), 0.3, dtype=torch.float64)
    single = torch.full((1, 16), MISSING, dtype=torch.float64)
    single[0, 0] = 1.0
    assert spectral_entropy(flat).item() == pytest.approx(1.0)
    assert spectral_entropy(single).item() == pytest.approx(0.0, abs=1e-9)


def test_entropy_by_hand() -> None:
    sigma = torch.tensor([[3.0, 1.0, MISSING, MISSING]], dtype=torch.float64)
    by_hand = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25)) / math.log(4)
    assert spectral_entropy(sigma).item() == pytest.approx(by_hand, abs=1e-9)


def test_a_vanishing_gradient_has_no_entropy() -> None:
    sigma = singular_values(torch.zeros(1, 3, 8), torch.ones(1, 3, 4), torch.tensor([3]), 4)
    assert spectral_entropy(sigma).isnan().all()


@pytest.mark.parametrize("kind", [Gram, Moment])
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_one_sample_that_is_not_finite_leaves_the_others_alone(bad, kind) -> None:
    torch.manual_seed(0)
    delta, hidden = torch.randn(3, 4, 10), torch.randn(3, 4, 6)
    lengths = torch.tensor([4, 4, 4])
    clean = singular_values(delta, hidden, lengths, 4, kind)
    delta[1, 2, 3] = bad
    found = singular_values(delta, hidden, lengths, 4, kind)
    assert found[1].isnan().all()
    torch.testing.assert_close(found[[0, 2]], clean[[0, 2]])
    assert spectral_entropy(found).isnan().tolist() == [False, True, False]
