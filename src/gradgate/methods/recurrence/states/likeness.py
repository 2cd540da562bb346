"""How alike the states of samples are."""

from dataclasses import dataclass

import numpy as np
from scipy.stats import norm, poisson

from gradgate.common.arrays import Floats, Ints, Marks
from gradgate.methods.recurrence.states.ridge import Scale

_MIN_P = 1e-300  # whose deviate is 37
_N_AXES = 50  # of states, the widest


def pairs_z(values: Floats, some: Ints) -> float:
    """How far the values of pairs among m of k samples are above those of as many at random.

    In standard deviations of all draws without replacement (Mantel 1967, by counting the pairs that
    share a sample); minus infinity where m is below four, or k.

    Args:
        values: Of pairs, symmetric, 0 of one with itself. (k, k)
        some: The samples. (m,)
    """
    m, k = len(some), len(values)
    if m < 4 or m >= k:
        return -np.inf
    by_sample = values.sum(axis=0)
    total, squares = float(by_sample.sum()), float((values**2).sum())
    sharing = float((by_sample**2).sum()) - squares
    two = m * (m - 1) / (k * (k - 1))
    three = two * (m - 2) / (k - 2)
    four = three * (m - 3) / (k - 3)
    mean = two * total
    apart = total**2 - 4 * sharing - 2 * squares
    variance = 2 * two * squares + 4 * three * sharing + four * apart - mean**2
    own = float(values[np.ix_(some, some)].sum())
    return (own - mean) / max(1e-9, variance) ** 0.5


def few_pairs_z(are_pairs: Marks, some: Ints) -> float:
    """How far the number of pairs among m of k samples is above that among as many at random.

    As a normal deviate of the same p. Of few samples few are expected, and two or three more are
    no rare thing: the tail is that of the Poisson law.

    Args:
        are_pairs: Which are pairs, symmetric, none of a sample with itself. (k, k)
        some: The samples. (m,)
    """
    m, k = len(some), len(are_pairs)
    expected = m * (m - 1) / (k * (k - 1)) * are_pairs.sum() / 2
    found = are_pairs[np.ix_(some, some)].sum() / 2
    return float(norm.isf(max(poisson.sf(found - 1, expected), _MIN_P)))


@dataclass(frozen=True, eq=False)
class Axes:
    """The 50 widest axes of the states of samples, each of d values made equally wide.

    Attributes:
        scale: Of the states.
        axes: At most 50. (d, axes)
    """

    scale: Scale
    axes: Floats

    @classmethod
    def of(cls, states: Floats) -> "Axes":
        """Take the states: (n, d)."""
        scale = Scale.of(states)
        right = np.linalg.svd(scale.on(states), full_matrices=False)[2]
        return cls(scale, right[:_N_AXES].T)

    def along(self, states: Floats) -> Floats:
        """States along the axes: (m, d) -> (m, axes)."""
        return np.asarray(self.scale.on(states) @ self.axes)


def widest_axes(states: Floats) -> Floats:
    """The states of k samples on their 50 widest axes, each of d values made equally wide."""
    return Axes.of(states).along(states)


def cosines(vectors: Floats) -> Floats:
    """Between the vectors of samples; 0 of one with itself: (k, k)."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    directions = vectors / np.where(lengths > 0, lengths, 1.0)
    found = np.asarray(directions @ directions.T)
    np.fill_diagonal(found, 0.0)
    return found
