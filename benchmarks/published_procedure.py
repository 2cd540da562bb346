"""The published GradSentry procedure (arXiv 2605.26574), sample by sample, for reading.

It shares no code with gradgate's scoring and is the reference of the benchmarks, for cost as well
as for scores: a forward pass with the loss, backward to the weight of the output layer, and a
randomised SVD of a block of that gradient. Its own error in entropy comes from the randomised SVD:
against a dense one, up to 0.007 was seen.

The head must not be tied to the embeddings, or it would collect their gradient as well.
"""

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from gradgate.data.tokens import Tokens
from gradgate.models.loading import LoadedModel

K = 16
MISSING = 1e-12
OVERSAMPLING = 10
POWER_ITERATIONS = 4
IGNORED = -100  # transformers' label for a position that the loss leaves out


def published_entropies(loaded: LoadedModel, samples: Iterable[Tokens]) -> list[float]:
    """Spectral entropy of each sample's own output-layer gradient, one sample at a time."""
    with gradient_of_head_only(loaded) as weight:
        return [
            entropy(randomised_singular_values(cropped_gradient(loaded, weight, sample)))
            for sample in samples
        ]


@contextmanager
def gradient_of_head_only(loaded: LoadedModel) -> Iterator[Tensor]:
    """Let the output layer's weight, and nothing else, require a gradient."""
    weight = loaded.model.get_output_embeddings().weight
    needed = {parameter: parameter.requires_grad for parameter in loaded.model.parameters()}
    loaded.model.requires_grad_(False)
    weight.requires_grad_(True)
    try:
        yield weight
    finally:
        for parameter, before in needed.items():
            parameter.requires_grad_(before)


def cropped_gradient(loaded: LoadedModel, weight: Tensor, sample: Tokens) -> Tensor:
    """The block [:V//8, :d//8] of d loss / d `weight`, on the host in float32."""
    ids = torch.tensor([sample.input_ids], device=loaded.device)
    supervised = torch.tensor([sample.is_target], device=loaded.device)
    labels = torch.where(supervised, ids, IGNORED)
    loss = loaded.model(input_ids=ids, labels=labels, use_cache=False).loss
    (gradient,) = torch.autograd.grad(loss, weight)  # (V, d)
    n_rows, n_columns = (max(1, size // 8) for size in gradient.shape)
    return gradient[:n_rows, :n_columns].float().cpu()


def randomised_singular_values(gradient: Tensor) -> Tensor:
    """The K largest singular values; the same for the same gradient, whatever was drawn before."""
    q = min(K + OVERSAMPLING, *gradient.shape)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        _, sigma, _ = torch.svd_lowrank(gradient, q=q, niter=POWER_ITERATIONS)
    return sigma[:K]


def entropy(sigma: Tensor) -> float:
    """-sum p ln p / ln K with p = sigma / sum(sigma); missing singular values are 1e-12."""
    filled = torch.full((K,), MISSING, dtype=torch.float64)
    filled[: len(sigma)] = sigma.double().clamp(min=MISSING)
    p = filled / filled.sum()
    return float(-(p * p.log()).sum() / math.log(K))
