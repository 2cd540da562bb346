"""Spectral entropy of the output-layer gradient, without forming the gradient.

With H (T, d) the hidden states that predict the T supervised tokens and Delta (T, V) the derivative
of their losses with respect to the head's output, the gradient of the head's weight is
G = Delta^T H / T, of shape (V, d) and rank at most T. Its singular values are the square roots of
the eigenvalues of K_D^(1/2) K_H K_D^(1/2) / T^2 with K_D = Delta Delta^T and K_H = H H^T, so
neither a backward pass nor a V x d matrix is needed. A Gram matrix squares the spectrum: everything
from the Gram matrices on is float64.

The crop [:V//8, :d//8] of G, which GradSentry (arXiv 2605.26574) uses, is a slice of the columns of
Delta and H. All functions work on a batch of samples padded to a common T with zero rows, which add
nothing to either Gram matrix.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

MISSING = 1e-12  # what a singular value beyond the rank counts as (published)
_VOCABULARY_CHUNK = 8_192  # columns of Delta that are float64 at any time


@dataclass(frozen=True)
class TokenLoss:
    """Derivative and loss at the supervised positions.

    Attributes:
        delta: d loss / d (output of the head), times T, columns [:n_columns]. (B, T, n_columns)
        loss: Cross-entropy of each token, 0 at padding. (B, T)
    """

    delta: Tensor
    loss: Tensor


@dataclass(frozen=True)
class LogitTransform:
    """What a model does to the head's output z before the softmax: cap * tanh(scale * z / cap)."""

    scale: float = 1.0
    cap: float | None = None

    def __call__(self, z: Tensor) -> Tensor:
        """Logits, of the shape of z."""
        scaled = z * self.scale if self.scale != 1.0 else z
        return scaled if self.cap is None else self.cap * torch.tanh(scaled / self.cap)

    def derivative(self, logits: Tensor) -> Tensor | float:
        """D logits / d z, from the logits."""
        if self.cap is None:
            return self.scale
        return self.scale * (1.0 - (logits / self.cap) ** 2)


def token_loss(
    logits: Tensor, targets: Tensor, mask: Tensor, n_columns: int, transform: LogitTransform
) -> TokenLoss:
    """Delta = (softmax(logits) - onehot(targets)) * d logits / d z, and the loss of each token.

    Args:
        logits: Float32 logits after `transform`. (B, T, V)
        targets: Token ids, any valid id at padding. (B, T)
        mask: True at real positions. (B, T)
        n_columns: Keep the derivative of the first n_columns of the vocabulary only.
        transform: The transform that made `logits`.
    """
    normaliser = torch.logsumexp(logits, dim=-1, keepdim=True)  # (B, T, 1)
    log_p = logits.gather(-1, targets[..., None]) - normaliser  # (B, T, 1)
    kept = logits[..., :n_columns]
    delta = torch.exp(kept - normaliser)
    column = targets[..., None].clamp(max=n_columns - 1)
    inside = targets[..., None] < n_columns
    # expm1 keeps p - 1 exact where p is almost 1
    delta.scatter_(-1, column, torch.where(inside, torch.expm1(log_p), delta.gather(-1, column)))
    delta = delta * transform.derivative(kept) * mask[..., None]
    return TokenLoss(delta, torch.where(mask, -log_p[..., 0], 0.0))


def gram(rows: Tensor) -> Tensor:
    """Float64 Gram matrix of the rows, summed over chunks of columns: (B, T, n) -> (B, T, T)."""
    batch, length, width = rows.shape
    total = rows.new_zeros(batch, length, length, dtype=torch.float64)
    for start in range(0, width, _VOCABULARY_CHUNK):
        chunk = rows[..., start : start + _VOCABULARY_CHUNK].double()
        total.baddbmm_(chunk, chunk.mT)
    return total


def singular_values(delta: Tensor, hidden: Tensor, lengths: Tensor, k: int) -> Tensor:
    """The k largest singular values of G = Delta^T H / T of each sample, largest first.

    Args:
        delta: Zero at padded rows. (B, T, columns of Delta)
        hidden: Zero at padded rows. (B, T, columns of H)
        lengths: T of each sample. (B,)
        k: How many; those beyond the rank are `MISSING`.

    Returns:
        Float64 singular values, (B, k). A sample whose input is not finite has NaN in all of them.
    """
    k_delta, k_hidden = gram(delta), gram(hidden)
    finite = (k_delta.isfinite() & k_hidden.isfinite()).all(dim=(1, 2))  # (B,)
    k_delta = torch.where(finite[:, None, None], k_delta, 0.0)
    k_hidden = torch.where(finite[:, None, None], k_hidden, 0.0)
    values, vectors = torch.linalg.eigh(k_delta)
    root = vectors * values.clamp(min=0.0).sqrt()[:, None, :]  # root root^T = k_delta
    squares = torch.linalg.eigvalsh(root.mT @ k_hidden @ root).flip(-1)  # largest first
    sigma = squares[:, :k].clamp(min=0.0).sqrt() / lengths[:, None]
    sigma = torch.nn.functional.pad(sigma, (0, k - sigma.shape[1]))
    rank = lengths.clamp(max=min(delta.shape[-1], hidden.shape[-1]))
    beyond = torch.arange(k, device=sigma.device) >= rank[:, None]
    sigma = sigma.masked_fill(beyond, 0.0).clamp(min=MISSING)
    return sigma.masked_fill(~finite[:, None], math.nan)


def spectral_entropy(sigma: Tensor) -> Tensor:
    """-sum p ln p / ln k with p = sigma / sum(sigma), in [0, 1]: (B, k) -> (B,).

    NaN where the gradient vanishes (no singular value above `MISSING`): its entropy is undefined.
    """
    p = sigma / sigma.sum(dim=-1, keepdim=True)
    entropy = -(p * p.log()).sum(dim=-1) / math.log(sigma.shape[-1])
    entropy = torch.where(sigma.amax(dim=-1) > MISSING, entropy, math.nan)
    return entropy.clamp(0.0, 1.0)  # rounding; clamp keeps NaN
