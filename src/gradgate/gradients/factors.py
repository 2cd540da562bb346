"""The gradient of a safety score by the head's weight, in factors: never a V x d matrix."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from gradgate.errors import ModelError
from gradgate.gradients.upload import upload

# The differentiable scores of a probing set, in the order of their columns, each with the sign by
# which a high inner product with a sample's gradient is harmful: a step on the sample goes against
# its gradient, so it lowers a score of safety, and raises one of danger.
PROXIES = {"all": 1.0, "first": 1.0, "published": -1.0}

_MIN_RANK = 128  # directions that are kept, if there are as many; above it a quarter of d
_SPARE = 2  # times as many while terms are still coming
# What is left out, as a part of all, in a model's dtype: what its own rounding already hides.
_TOLERANCE = {torch.float64: 1e-7, torch.float32: 1e-7, torch.float16: 1e-3, torch.bfloat16: 4e-3}


@dataclass(frozen=True, eq=False)
class SafetyGradient:
    """The gradients grad S_i = U M_i^T of the safety scores S_i by the head's weight.

    Attributes:
        basis: U, orthonormal, common to all; float32 (V, r).
        factors: M_i in the order of `PROXIES`; float64 (3, d, r).
        norms: Frobenius norm of each gradient, by the name of its score.
        residual: At most so much of that norm is not in the factors, as a part of it.
        refusal_tokens: Tokens that begin a refusal. (m,)
    """

    basis: Tensor
    factors: Tensor
    norms: dict[str, float]
    residual: dict[str, float]
    refusal_tokens: Tensor

    @property
    def rank(self) -> int:
        """Columns of the basis, r."""
        return self.basis.shape[1]

    def products(self, hidden: Tensor, projected: Tensor, lengths: Tensor) -> Tensor:
        """FIHS of B samples, by each score: float64 (B, 3), high is harmful.

        With grad L = Delta^T H / T this is +-<grad L, grad S_i>, the sign as in `PROXIES`.

        Args:
            hidden: H, zero at padding; float64 (B, T, d).
            projected: Delta U, finite at padding; float64 (B, T, r).
            lengths: T of each sample. (B,)
        """
        signs = upload(np.array(list(PROXIES.values())), self.factors.device)
        right = (self.factors * signs[:, None, None]).transpose(0, 1).flatten(1)  # (d, 3 r)
        both = (hidden @ right).unflatten(-1, (len(signs), -1)) * projected[:, :, None]
        return both.sum(dim=(1, 3)) / lengths[:, None]


class FactorSum:
    """A sum of terms a_j b_j^T for each score, kept as U C_i^T with few directions U.

    New terms widen the basis; it is turned into the leading directions of all scores, each divided
    by its norm, and cut where the rest is below a tolerance, or at a largest rank.
    """

    def __init__(self, n_vocabulary: int, n_hidden: int, dtype: torch.dtype) -> None:
        """Begin with nothing; `dtype` is that of the model."""
        self._tolerance = _TOLERANCE.get(dtype, 1e-7)
        self._max_rank = max(_MIN_RANK, n_hidden // 4)
        # a float32 sum is exact enough where the model is not
        self.dtype = torch.float64 if self._tolerance < 1e-5 else torch.float32
        self._basis = torch.zeros(n_vocabulary, 0, dtype=self.dtype)
        self._right = torch.zeros(len(PROXIES), 0, n_hidden, dtype=self.dtype)
        self._lost = torch.zeros(len(PROXIES), dtype=torch.float64)

    def add(self, left: Tensor, right: Tensor, weights: Tensor) -> None:
        """Add m terms, weight * a_j b_j^T.

        Args:
            left: a_j, (V, m).
            right: b_j, (m, d).
            weights: Of each term in each score, (3, m).
        """
        basis = self._basis.to(left.device)
        inside = basis.mT @ left
        fresh = left - basis @ inside
        again = basis.mT @ fresh  # once loses orthogonality to rounding
        fresh, upper = torch.linalg.qr(fresh - basis @ again)
        found = torch.cat([inside + again, upper]) @ (weights[:, :, None] * right)  # (3, r + m, d)
        found[:, : basis.shape[1]] += self._right.to(left.device)
        self._basis, self._right = torch.cat([basis, fresh], dim=1), found
        self._cut(self._tolerance / 10, _SPARE * self._max_rank)

    def _cut(self, tolerance: float, max_rank: int) -> None:
        """Turn the basis into leading directions, and leave out what counts for nothing."""
        norms = torch.linalg.vector_norm(self._right, dim=(1, 2))
        if not bool(norms.isfinite().all()):
            raise ModelError("the model's output on the probing set is not finite")
        wide = torch.cat(list(self._right / norms.clamp(min=torch.finfo().tiny)[:, None, None]), 1)
        energy, turned = torch.linalg.eigh((wide @ wide.mT).double())
        rest = energy.clamp(min=0.0).cumsum(0)
        n_cut = int((rest.sqrt() <= tolerance * rest[-1].sqrt()).sum())
        n_cut = max(n_cut, len(energy) - max_rank)
        turned = turned.to(self.dtype)
        lost = turned[:, :n_cut].mT @ self._right
        self._lost += torch.linalg.vector_norm(lost, dim=(1, 2)).double().cpu()
        kept = turned[:, n_cut:].flip(1)
        self._basis, self._right = self._basis @ kept, kept.mT @ self._right

    def gradient(self, refusal_tokens: Tensor) -> SafetyGradient:
        """The sum, when all terms are there.

        Raises:
            ModelError: A gradient vanishes, or is not finite.
        """
        self._cut(self._tolerance, self._max_rank)
        norms = torch.linalg.vector_norm(self._right, dim=(1, 2)).tolist()
        vanished = [name for name, norm in zip(PROXIES, norms, strict=True) if norm == 0.0]
        if vanished:
            raise ModelError(f"the gradient of the safety score {', '.join(vanished)} vanishes")
        lost = [a / norm for a, norm in zip(self._lost.tolist(), norms, strict=True)]
        return SafetyGradient(
            self._basis.float(),
            self._right.double().mT.contiguous(),
            dict(zip(PROXIES, norms, strict=True)),
            dict(zip(PROXIES, lost, strict=True)),
            refusal_tokens,
        )
