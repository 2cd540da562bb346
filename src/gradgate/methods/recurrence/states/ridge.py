"""Ridge regression on hidden states: what the other samples teach of each."""

from dataclasses import dataclass

import numpy as np

from gradgate.common.arrays import Floats, Marks

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
        k, (widths, vectors) = len(states), np.linalg.eigh(_products(states))
        fits = []
        for penalty in k * np.array(_PENALTIES):
            hat = (vectors * (widths / (widths + penalty))) @ vectors.T
            rest = values - hat @ values
            fits.append(cls(hat, rest, rest / np.maximum(1e-9, 1 - np.diag(hat))[:, None]))
        return min(fits, key=lambda fit: float((fit.error**2).mean()))


def errors_without(states: Floats, values: Floats, out: Marks) -> Floats:
    """What the samples that are not left out leave of each value; of theirs, all others of them.

    Args:
        states: One vector a sample. (k, d)
        values: (k, values)
        out: Samples that teach nothing. (k,)
    """
    products, mean = _products(states), values[~out].mean(axis=0)
    within, own = products[np.ix_(~out, ~out)], values[~out] - mean
    widths, vectors = np.linalg.eigh(within)
    turned, n = vectors.T @ own, len(own)
    best, smallest = np.zeros_like(own), np.inf
    found = np.empty(values.shape)
    for penalty in n * np.array(_PENALTIES):
        shrunk = vectors / (widths + penalty)
        hat_diagonal = ((shrunk * widths) * vectors).sum(axis=1)
        rest = own - (shrunk * widths) @ turned
        error = rest / np.maximum(1e-9, 1 - hat_diagonal)[:, None]
        if (size := float((error**2).mean())) < smallest:
            smallest, best = size, shrunk @ turned
            found[~out] = error
    found[out] = values[out] - mean - products[np.ix_(out, ~out)] @ best
    return found


def _products(states: Floats) -> Floats:
    """Of the states, made equally wide, with a constant: (k, k)."""
    own = scaled(states)
    return np.asarray(own @ own.T / states.shape[1] + 1.0)


def scaled(states: Floats) -> Floats:
    """Each of d values with mean zero and deviation one: (k, d)."""
    spread = states.std(axis=0)
    return (states - states.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
