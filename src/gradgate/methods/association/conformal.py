"""Conformal p-values against a trusted reference."""

import numpy as np

from gradgate.common.arrays import Floats, Marks


def conformal(strength: Floats, is_trusted: Marks) -> Floats:
    """Conformal p-values: the rank of each sample's strength among those of the reference.

    The strengths come from data and reference together, without regard to which is which, so that
    those of clean samples of the same distribution are exchangeable: a p-value of at most u then
    has a probability of at most u (Vovk et al. 2005; Bates et al. 2023).

    Args:
        strength: High is suspicious. (n,)
        is_trusted: Which samples belong to the reference. (n,)
    """
    known = np.sort(strength[is_trusted])
    at_least = len(known) - np.searchsorted(known, strength, side="left")
    return np.asarray((1.0 + at_least) / (len(known) + 1.0))
