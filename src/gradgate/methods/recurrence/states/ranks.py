"""By how much values rank higher than others."""

import numpy as np

from gradgate.common.arrays import Floats


def auroc_error(n: int, m: int) -> float:
    """Standard error of the AUROC of n against m values of the same law (Mann and Whitney 1947)."""
    return float(np.sqrt((n + m + 1) / (12 * n * m)))


def auroc(own: Floats, others: Floats) -> float:
    """How often one of the first is above one of the second; NaN where nothing is known."""
    others = others[np.isfinite(others)]
    if not others.size:
        return np.nan
    above = own[:, None] > others[None]
    return float((above + 0.5 * (own[:, None] == others[None])).mean())


def rank_sum_z(rank_sums: Floats, n: Floats, k: int) -> Floats:
    """Standard scores of rank sums of n of k values (Mann and Whitney 1947)."""
    u = rank_sums - n * (n + 1) / 2
    scale = np.sqrt(np.maximum(n * (k - n) * (k + 1) / 12, 1.0))
    return np.asarray((u - n * (k - n) / 2 + 0.5) / scale)
