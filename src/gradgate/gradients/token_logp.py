"""How likely the model finds each token of a sample: the numbers of all positions, packed."""

import numpy as np
import numpy.typing as npt

from gradgate.common.arrays import Floats
from gradgate.data.tokens import Tokens
from gradgate.gradients.predicting import given_positions, predicting_positions

_LOWEST = float(np.finfo(np.float16).min)


def token_logp(
    sample: Tokens, losses: Floats, given: npt.NDArray[np.float32]
) -> tuple[bytes | None, int, int]:
    """Pack ln p of each token of a sample.

    Args:
        sample: Its tokens.
        losses: Of its supervised tokens, and of others behind them. (at least T,)
        given: ln p of its given tokens, and of others behind them. (at least G,)

    Returns:
        One little-endian float16 a token, NaN for the first one and behind the last supervised
        one, and never below the lowest finite float16; None when another one is not finite. Then
        T and G.
    """
    targets, others = predicting_positions(sample) + 1, given_positions(sample)
    logp = np.full(len(sample.input_ids), np.nan)
    logp[targets] = 0.0 - losses[: len(targets)]
    logp[others] = given[: len(others)]
    is_finite = np.isfinite(logp[1 : targets[-1] + 1]).all()
    packed = np.maximum(logp, _LOWEST).astype("<f2").tobytes() if is_finite else None
    return packed, len(targets), len(others)


def unpacked(packed: bytes) -> npt.NDArray[np.float16]:
    """Ln p of each token: (n,)."""
    return np.frombuffer(packed, dtype="<f2")
