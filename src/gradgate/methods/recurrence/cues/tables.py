"""The association of a target span and a cue: correlation and test of a 2 x 2 table.

Of n samples t have the span and c the cue; a have both.
"""

import math

import numpy as np
from scipy.stats import hypergeom, norm

from gradgate.common.arrays import Floats, Marks
from gradgate.methods.evidence import Association


def phi(a: Floats | float, t: Floats | float, c: Floats | float, n: int) -> Floats:
    """Correlation of two 0/1 properties, in [-1, 1]; 0 where one of them is constant."""
    product = np.asarray(t * c * (n - t) * (n - c), np.float64)
    covariance = np.asarray(a * n - t * c, np.float64)
    return np.where(product > 0, covariance / np.sqrt(np.maximum(product, 1.0)), 0.0)


def associate(span: Marks, cue: Marks, n_tests: int) -> Association:
    """Test the association of two properties of the same samples.

    Args:
        span: Which samples have the span. (n,)
        cue: Which have the cue. (n,)
        n_tests: Pairs of span and cue that were counted, for Bonferroni's correction.
    """
    counts = int(span.sum()), int(cue.sum()), int((span & cue).sum())
    return associate_counts(len(span), *counts, n_tests)


def associate_counts(n: int, t: int, c: int, a: int, n_tests: int) -> Association:
    """As `associate`, by the counts of the table."""
    cells = np.array([a, t - a, c - a, n - t - c + a]) + 0.5
    ratio = math.log(cells[0] * cells[3] / (cells[1] * cells[2]))
    width = norm.ppf(0.975) * math.sqrt((1 / cells).sum())
    return Association(
        n=n,
        n_span=t,
        n_cue=c,
        n_both=a,
        phi=float(phi(a, t, c, n)),
        odds_ratio=math.exp(ratio),
        interval=(math.exp(ratio - width), math.exp(ratio + width)),
        p_value=min(1.0, float(hypergeom.sf(a - 1, n, t, c)) * n_tests),
    )
