"""Ridge regression on hidden states: what the other samples teach of each."""

from dataclasses import dataclass

import numpy as np

from gradgate.common.arrays import Floats

_PENALTIES = (0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0)  # for each sample


@dataclass(frozen=True, eq=False)
class Ridge:
    """Values of k samples, regressed on their states.

    Attributes:
        hat: The matrix that smooths values. (k, k)
        rest: What it leaves of them. (k, values)
        error: What all other samples leave of each. (k, values)
    """

    hat: Floats
    rest: Floats
    error: Floats

    @classmethod
    def of(cls, states: Floats, values: Floats) -> "Ridge":
        """Fit; the penalty is that of the smallest error of left-out samples.

        Args:
            states: One vector a sample. (k, d)
            values: Of mean zero. (k, values)
        """
        k, own = len(states), scaled(states)
        widths, vectors = np.linalg.eigh(own @ own.T / states.shape[1] + 1.0)
        fits = []
        for penalty in k * np.array(_PENALTIES):
            hat = (vectors * (widths / (widths + penalty))) @ vectors.T
            rest = values - hat @ values
            fits.append(cls(hat, rest, rest / np.maximum(1e-9, 1 - np.diag(hat))[:, None]))
        return min(fits, key=lambda fit: float((fit.error**2).mean()))


def scaled(states: Floats) -> Floats:
    """Each of d values with mean zero and deviation one: (k, d)."""
    spread = states.std(axis=0)
    return (states - states.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
