"""Spectral entropy of the output-layer gradient, without forming the gradient.

With H (T, d) the hidden states that predict the T supervised tokens and Delta (T, V) the derivative
of their losses with respect to the head's output, the gradient of the head's weight is
G = Delta^T H / T, of shape (V, d) and rank at most T. Its singular values are the square roots of
the eigenvalues of K_D^(1/2) K_H K_D^(1/2) / T^2 with K_D = Delta Delta^T and K_H = H H^T, and of
those of H^T K_D H / T^2, so neither a backward pass nor a V x d matrix is needed. A Gram matrix
squares the spectrum: everything from the Gram matrices on is float64.

The crop [:V//8, :d//8] of G, which GradSentry (arXiv 2605.26574) uses, is a slice of the columns of
Delta and H; summed up from the first column of Delta on, the products of the crop are on the way to
those of all of G. All functions work on a batch of samples padded to a common T. At padding the
rows of H are zero, so that those of Delta may be anything finite.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

MISSING = 1e-12  # value of a singular value beyond the rank (published)
DENSE = 512  # beyond this order of the eigenproblem only the leading part of it is solved
ENTROPY_BOUND = 1e-6  # of the change of an entropy by that
_EXTRA_DIRECTIONS = 8  # beyond k, of the block
_RESOLUTION = 2e-14  # of the largest eigenvalue, in float64
_STRIP_ROWS = 48  # rows of a Gram matrix that are summed together, up to the diagonal


@dataclass(frozen=True)
class Spectrum:
    """Of the gradients of B samples; NaN where a sample's input is not finite.

    Attributes:
        sigma: The k largest singular values, largest first; `MISSING` beyond the rank. (B, k)
        norm: Frobenius norm, of all singular values. (B,)
    """

    sigma: Tensor
    norm: Tensor


class Gram:
    """K_D = Delta Delta^T of each sample, (B, T, T), summed over columns of Delta."""

    def __init__(self, hidden: Tensor) -> None:
        """Take H, zero at padding: float64 (B, T, columns of H)."""
        self._hidden = hidden
        self._lower = hidden.new_zeros(hidden.shape[0], hidden.shape[1], hidden.shape[1])

    def add(self, delta: Tensor, samples: slice = slice(None)) -> None:
        """Add columns of Delta of some samples: float64 (b, at most T, some)."""
        for start in range(0, delta.shape[1], _STRIP_ROWS):
            stop = min(start + _STRIP_ROWS, delta.shape[1])
            strip = self._lower[samples, start:stop, :stop]
            strip.baddbmm_(delta[:, start:stop], delta[:, :stop].mT)

    @property
    def sum(self) -> Tensor:
        """K_D so far, (B, T, T)."""
        lower = self._lower.tril()
        return lower + lower.tril(-1).mT

    def cropped(self, width: int) -> "Gram":
        """The products of the columns added so far, and of the first `width` columns of H."""
        crop = Gram(self._hidden[:, :, :width])
        crop._lower = self._lower.clone()
        return crop

    def spectrum(self, lengths: Tensor, n_columns: int, k: int) -> Spectrum:
        """Leading singular values of G = Delta^T H / T of each sample.

        Args:
            lengths: T of each sample. (B,)
            n_columns: Columns of Delta.
            k: How many.
        """
        gram = self.sum
        energy = (gram @ self._hidden * self._hidden).sum(dim=(1, 2))
        finite = energy.isfinite() & gram.isfinite().all(dim=(1, 2))
        gram = torch.where(finite[:, None, None], gram, 0.0)
        hidden = torch.where(finite[:, None, None], self._hidden, 0.0)
        length, width = hidden.shape[1:]
        if min(length, width) > DENSE:
            pairs = zip(gram, hidden, strict=True)
            values = torch.stack(
                [leading_eigenvalues(_product(*pair), width, k, gram.device) for pair in pairs]
            )
        elif length > width:
            values = torch.linalg.eigvalsh(hidden.mT @ gram @ hidden)
        else:
            roots, vectors = torch.linalg.eigh(gram)
            root = vectors * roots.clamp(min=0.0).sqrt()[:, None, :]  # root root^T = gram
            factor = root.mT @ hidden
            values = torch.linalg.eigvalsh(factor @ factor.mT)
        rank = lengths.clamp(max=min(n_columns, width))
        return _spectrum(values, energy, finite, lengths, rank, k)


class Moment:
    """H^T K_D H of each sample, (B, columns of H, the same): smaller for long targets."""

    def __init__(self, hidden: Tensor) -> None:
        """Take H, zero at padding: float64 (B, T, columns of H)."""
        self._hidden = hidden
        self.sum = hidden.new_zeros(hidden.shape[0], hidden.shape[2], hidden.shape[2])

    def add(self, delta: Tensor, samples: slice = slice(None)) -> None:
        """Add columns of Delta of some samples: float64 (b, at most T, some)."""
        hidden = self._hidden[samples, : delta.shape[1]]
        rows = delta.mT @ hidden  # of G, times T: (b, some, columns of H)
        self.sum[samples].baddbmm_(rows.mT, rows)

    def cropped(self, width: int) -> "Moment":
        """As `Gram.cropped`."""
        crop = Moment(self._hidden[:, :, :width])
        crop.sum.copy_(self.sum[:, :width, :width])
        return crop

    def spectrum(self, lengths: Tensor, n_columns: int, k: int) -> Spectrum:
        """As `Gram.spectrum`."""
        energy = self.sum.diagonal(dim1=1, dim2=2).sum(dim=1)
        finite = energy.isfinite() & self.sum.isfinite().all(dim=(1, 2))
        moment = torch.where(finite[:, None, None], self.sum, 0.0)
        width = moment.shape[1]
        if width > DENSE:
            values = torch.stack(
                [leading_eigenvalues(one.matmul, width, k, moment.device) for one in moment]
            )
        else:
            values = torch.linalg.eigvalsh(moment)
        rank = lengths.clamp(max=min(n_columns, width))
        return _spectrum(values, energy, finite, lengths, rank, k)


def products(hidden: Tensor) -> Gram | Moment:
    """Whichever of the two takes less work for H: float64 (B, T, columns of H)."""
    length, width = hidden.shape[1:]
    return Gram(hidden) if length**2 <= width * (length + width) else Moment(hidden)


def _spectrum(
    values: Tensor, energy: Tensor, finite: Tensor, lengths: Tensor, rank: Tensor, k: int
) -> Spectrum:
    """From eigenvalues in rising order (B, any number), whose sum `energy` (B,) is."""
    values = values.flip(-1)[:, :k]  # largest first
    values = torch.nn.functional.pad(values, (0, k - values.shape[1]))
    sigma = values.clamp(min=0.0).sqrt() / lengths[:, None]
    beyond = torch.arange(k, device=sigma.device) >= rank[:, None]
    sigma = sigma.masked_fill(beyond, 0.0).clamp(min=MISSING)
    norm = energy.clamp(min=0.0).sqrt() / lengths
    return Spectrum(
        sigma.masked_fill(~finite[:, None], math.nan), norm.masked_fill(~finite, math.nan)
    )


def _product(gram: Tensor, hidden: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda block: hidden.mT @ (gram @ (hidden @ block))


def leading_eigenvalues(
    operator: Callable[[Tensor], Tensor], width: int, k: int, device: torch.device | None = None
) -> Tensor:
    """The k largest eigenvalues of a symmetric operator, in rising order, by block Lanczos: (k,).

    Each value lies within its residual of an eigenvalue. The iteration goes on until these
    residuals cannot change the entropy of the singular values by more than `ENTROPY_BOUND` (to
    first order), at the latest until the whole space is spanned. Every product is with a block of
    k + 8 vectors; the start is seeded, so that equal samples have equal scores.

    Args:
        operator: Maps float64 blocks (width, any number) to blocks of that shape.
        width: Order of the operator.
        k: How many.
        device: Of the blocks.
    """
    seeded = torch.Generator().manual_seed(0)
    start = torch.randn(
        width, min(k + _EXTRA_DIRECTIONS, width), generator=seeded, dtype=torch.double
    )
    basis = fresh = _orthonormal(start.to(device))
    image = operator(fresh)
    while True:
        values, vectors = torch.linalg.eigh(_symmetric(basis.mT @ image))
        values, vectors = values[-k:], vectors[:, -k:]
        residuals = torch.linalg.vector_norm(image @ vectors - basis @ vectors * values, dim=0)
        if basis.shape[1] >= width or _entropy_error(values, residuals) <= ENTROPY_BOUND:
            return values
        fresh = image[:, -fresh.shape[1] :]
        for _ in range(3):  # once loses orthogonality to rounding, and more where the rank is low
            fresh = _orthonormal(fresh - basis @ (basis.mT @ fresh))
        fresh = fresh[:, : width - basis.shape[1]]
        basis = torch.cat([basis, fresh], dim=1)
        image = torch.cat([image, operator(fresh)], dim=1)


def _orthonormal(block: Tensor) -> Tensor:
    return torch.linalg.qr(block).Q


def _symmetric(matrix: Tensor) -> Tensor:
    return (matrix + matrix.mT) / 2


def _entropy_error(values: Tensor, residuals: Tensor) -> float:
    """Error of the entropy, for errors of the eigenvalues as large as their residuals."""
    sigma = values.clamp(min=0.0).sqrt().clamp(min=MISSING)
    # the rounding error of a residual cannot become smaller, nor is it resolved
    floor = _RESOLUTION * float(values.abs().max())
    residuals = torch.where(residuals > floor, residuals, 0.0)
    error = torch.minimum(residuals / sigma, residuals.sqrt())
    p = sigma / sigma.sum()
    slope = (p.log() - (p * p.log()).sum()).abs() / (sigma.sum() * math.log(len(p)))
    return float((slope * error).sum())


def spectral_entropy(sigma: Tensor) -> Tensor:
    """-sum p ln p / ln k with p = sigma / sum(sigma), in [0, 1]: (B, k) -> (B,).

    NaN where the gradient vanishes (no singular value above `MISSING`): its entropy is undefined.
    """
    p = sigma / sigma.sum(dim=-1, keepdim=True)
    entropy = -(p * p.log()).sum(dim=-1) / math.log(sigma.shape[-1])
    entropy = torch.where(sigma.amax(dim=-1) > MISSING, entropy, math.nan)
    return entropy.clamp(0.0, 1.0)  # rounding; clamp keeps NaN
