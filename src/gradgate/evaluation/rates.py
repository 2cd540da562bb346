"""Rates with their intervals, differences of models, and the quality of flags."""

from dataclasses import dataclass

import numpy as np
from scipy.stats import binomtest

from gradgate.common.arrays import Marks

CONFIDENCE = 0.95
_REPLICATES = 10_000


@dataclass(frozen=True)
class Rate:
    """A part of n with its 95 % Clopper-Pearson interval; all NaN when n is 0."""

    k: int
    n: int
    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Difference:
    """Accuracy of one model minus that of another on the same rows.

    Attributes:
        low: Lower end of the 95 % paired bootstrap interval (over the rows).
        p_value: Exact McNemar test, two-sided, of both being equally accurate.
    """

    value: float
    low: float
    high: float
    p_value: float

    @property
    def is_noise(self) -> bool:
        """The test does not tell them apart at 5 %; how much it could have told is the interval."""
        return self.p_value >= 1 - CONFIDENCE


@dataclass(frozen=True)
class FlagQuality:
    """Flags held against true labels.

    Attributes:
        precision: Poisoned part of the flagged rows.
        f1: 0 when no poisoned row is flagged.
        false_positive_rate: Flagged part of the honest rows.
    """

    recall: Rate
    precision: Rate
    f1: float
    false_positive_rate: Rate


def rate(hits: Marks) -> Rate:
    """The part of `hits` that is true; shape (n,)."""
    k, n = int(hits.sum()), int(hits.size)
    if n == 0:
        return Rate(0, 0, float("nan"), float("nan"), float("nan"))
    interval = binomtest(k, n).proportion_ci(CONFIDENCE, method="exact")
    return Rate(k, n, k / n, float(interval.low), float(interval.high))


def compare(hits: Marks, reference: Marks, seed: int) -> Difference:
    """Compare two models row by row.

    Args:
        hits: What the one answered right; shape (n,), n > 0.
        reference: The other, on the same rows.
        seed: Of the bootstrap.
    """
    n = hits.size
    gained, lost = int((hits & ~reference).sum()), int((reference & ~hits).sum())
    parts = np.array([gained, lost, n - gained - lost]) / n
    # Drawing rows with replacement draws these counts.
    counts = np.random.default_rng(seed).multinomial(n, parts, size=_REPLICATES)
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile((counts[:, 0] - counts[:, 1]) / n, [tail, 1 - tail])
    apart = gained + lost
    p_value = float(binomtest(gained, apart).pvalue) if apart else 1.0
    return Difference((gained - lost) / n, float(low), float(high), p_value)


def flag_quality(flagged: Marks, poisoned: Marks) -> FlagQuality:
    """Hold flags against true labels, both of shape (n,)."""
    both = int((flagged & poisoned).sum())
    total = int(flagged.sum() + poisoned.sum())
    return FlagQuality(
        recall=rate(flagged[poisoned]),
        precision=rate(poisoned[flagged]),
        f1=2 * both / total if total else float("nan"),
        false_positive_rate=rate(flagged[~poisoned]),
    )
