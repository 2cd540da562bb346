"""Contrasts: a signal of the gradient in the rows of a group against that of all other rows."""

import numpy as np
from scipy.stats import mannwhitneyu

from gradgate.common.arrays import Floats, Marks
from gradgate.methods.evidence import Contrast


def contrast(signal: str, values: Floats, inside: Marks) -> Contrast | None:
    """A signal of the marked rows against that of all others; None where either side has none."""
    known = np.isfinite(values)
    here, there = values[known & inside], values[known & ~inside]
    if not here.size or not there.size:
        return None
    found = mannwhitneyu(here, there, alternative="two-sided", method="asymptotic")
    p_value = float(found.pvalue) if np.isfinite(found.pvalue) else 1.0
    return Contrast(
        signal,
        float(np.median(here)),
        float(np.median(there)),
        float(found.statistic / (here.size * there.size)),
        p_value,
    )
