"""A sketch of the output-layer gradient: two fixed random projections of G, never G itself.

With R_V (V, 16) and R_d (d, 16) the sketch is vec(R_V^T G R_d), G = Delta^T H / T. The cosine of
two samples' sketches estimates that of their gradients, to about 1 / 16 where these have nothing
in common. Only the direction of the 256 numbers is kept, in float16: the length of the gradient
is a signal of its own.
"""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

SIDE = 16  # columns of either projection
SIZE = SIDE**2  # numbers of a sketch

_SEED = 20260521
_VOCABULARY, _HIDDEN = 0, 1  # streams of the seed


def vocabulary_projection(n_vocabulary: int) -> npt.NDArray[np.float32]:
    """R_V: (V, 16)."""
    return _projection(_VOCABULARY, n_vocabulary)


def hidden_projection(n_hidden: int) -> npt.NDArray[np.float32]:
    """R_d: (d, 16)."""
    return _projection(_HIDDEN, n_hidden)


def _projection(stream: int, n_rows: int) -> npt.NDArray[np.float32]:
    """Standard normal numbers, as far as 64 coins make them: (n_rows, 16).

    Made of the raw bits of a counter and of integers alone, they are the same on every machine and
    with every numpy, and a row does not depend on how many follow it.
    """
    bits = np.random.Philox(key=[_SEED, stream]).random_raw(n_rows * SIDE)
    heads = np.bitwise_count(bits).astype(np.float32).reshape(n_rows, SIDE)
    return np.asarray((heads - 32) / 4, dtype=np.float32)  # mean 0, variance 1; exact


def sketches(delta: Tensor, hidden: Tensor) -> Tensor:
    """Sketches of B gradients, of unit length: float16 (B, 256).

    NaN where the input is not finite; zero where the sketch is.

    Args:
        delta: Delta R_V, finite at padding. float64 (B, T, 16)
        hidden: H R_d, zero at padding. float64 (B, T, 16)
    """
    found = (delta.mT @ hidden).flatten(1)
    # in two steps: the square of the gradient of an almost certain target would be zero
    found = found / found.abs().amax(dim=1, keepdim=True).clamp(min=torch.finfo().tiny)
    length = torch.linalg.vector_norm(found, dim=1, keepdim=True)
    return (found / length.clamp(min=torch.finfo().tiny)).half()
