"""The benchmarks' reference is itself held against a dense SVD, and gradgate against it."""

import math

import numpy as np
import pytest
import torch

from benchmarks.models import TINY, random_model
from benchmarks.published_procedure import (
    cropped_gradient,
    entropy,
    gradient_of_head_only,
    published_entropies,
    randomised_singular_values,
)
from benchmarks.shapes import count, stories, webqa, with_target_length
from gradgate.config import ScoringConfig
from gradgate.data.tokens import Tokens
from gradgate.gradients.scorer import Scorer
from gradgate.models.loading import LoadedModel

RANDOMISED = 0.002  # error of the randomised SVD in entropy; 1e-5 is seen here


@pytest.fixture(scope="module")
def loaded() -> LoadedModel:
    made = random_model(TINY, torch.device("cpu"), torch.float32)
    for parameter in made.model.parameters():  # sharp enough for logits of a trained model's size
        torch.nn.init.normal_(parameter, std=0.25) if parameter.dim() > 1 else None
    return made


@pytest.fixture(scope="module")
def samples() -> list[Tokens]:
    return [
        *webqa(6, TINY.vocab_size, seed=1),
        *with_target_length(2, 2, TINY.vocab_size, seed=2),
        *with_target_length(2, 40, TINY.vocab_size, seed=3),
    ]


def dense_gradient(loaded: LoadedModel, sample: Tokens) -> np.ndarray:
    """(V, d) by hand: the mean over the supervised tokens of (softmax - onehot) h^T."""
    ids = torch.tensor([sample.input_ids])
    hidden = loaded.model.model(input_ids=ids).last_hidden_state[0].double()
    delta = torch.softmax(hidden @ loaded.head.weight.double().T, dim=-1)
    at = [i - 1 for i, target in enumerate(sample.is_target) if target]
    for i in at:
        delta[i, sample.input_ids[i + 1]] -= 1
    return (delta[at].T @ hidden[at] / len(at)).numpy()


def dense_entropy(block: np.ndarray) -> float:
    sigma = np.maximum(np.linalg.svd(block, compute_uv=False), 1e-12)
    sigma = np.pad(sigma, (0, 16), constant_values=1e-12)[:16]
    p = sigma / sigma.sum()
    return float(-(p * np.log(p)).sum() / math.log(16))


def test_the_gradient_is_the_blocks_of_the_dense_one(loaded, samples) -> None:
    with gradient_of_head_only(loaded) as weight:
        found = [cropped_gradient(loaded, weight, sample).numpy() for sample in samples]
    for block, sample in zip(found, samples, strict=True):
        expected = dense_gradient(loaded, sample)[: TINY.vocab_size // 8, : TINY.hidden_size // 8]
        np.testing.assert_allclose(block, expected, atol=1e-5 * np.abs(expected).max())


def test_entropies_are_those_of_a_dense_svd(loaded, samples) -> None:
    for found, sample in zip(published_entropies(loaded, samples), samples, strict=True):
        block = dense_gradient(loaded, sample)[: TINY.vocab_size // 8, : TINY.hidden_size // 8]
        assert found == pytest.approx(dense_entropy(block), abs=RANDOMISED)


def test_randomised_singular_values_of_a_wide_spectrum_are_near_the_dense_ones() -> None:
    torch.manual_seed(5)
    gradient = torch.randn(400, 64) @ torch.diag(0.9 ** torch.arange(64.0)) @ torch.randn(64, 64)
    found = randomised_singular_values(gradient)
    assert entropy(found) == pytest.approx(dense_entropy(gradient.double().numpy()), abs=RANDOMISED)
    torch.manual_seed(6)
    assert torch.equal(found, randomised_singular_values(gradient))  # whatever was drawn before


def test_few_singular_values_are_filled_up() -> None:
    assert entropy(torch.ones(16)) == pytest.approx(1.0)
    assert entropy(torch.ones(4)) == pytest.approx(0.5)
    assert entropy(torch.ones(1)) == pytest.approx(0.0, abs=1e-9)


def test_only_the_head_gets_a_gradient_and_the_model_is_left_as_it_was(loaded, samples) -> None:
    published_entropies(loaded, samples[:1])
    assert not any(parameter.requires_grad for parameter in loaded.model.parameters())
    assert all(parameter.grad is None for parameter in loaded.model.parameters())


def test_gradgate_agrees_with_the_published_procedure(loaded, samples) -> None:
    found = Scorer(loaded, ScoringConfig()).score(samples)
    expected = published_entropies(loaded, samples)
    assert [score.entropy_crop for score in found] == pytest.approx(expected, abs=RANDOMISED)
    assert max(expected) - min(expected) > 0.1  # they tell samples apart


def test_distinct_tokens_are_the_nodes_of_the_prefix_tree() -> None:
    samples = [*webqa(40, 256, seed=0), *stories(30, 256, seed=1)]
    counted = count([*samples, samples[0]])
    nodes = {tuple(s.input_ids[: i + 1]) for s in samples for i in range(len(s.input_ids))}
    assert counted.distinct == len(nodes)
    assert counted.tokens == sum(len(s.input_ids) for s in [*samples, samples[0]])
    assert counted.supervised == sum(sum(s.is_target) for s in [*samples, samples[0]])
