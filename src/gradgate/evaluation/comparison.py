"""What a method's suspicion and flags are worth against labels, and how far two methods agree.

Intervals are of 95 %: Clopper-Pearson for rates, percentiles of a bootstrap for F1 and AUROC. The
bootstrap draws rows anew within the positive and within the negative rows, so that each replicate
has as many of both as the data. Where a figure is perfect, every replicate is: its interval has no
width, and the intervals of the rates say how sure it is.
"""

from dataclasses import dataclass

import numpy as np
from scipy.stats import rankdata

from gradgate.common.arrays import Floats, Ints, Marks
from gradgate.evaluation.rates import CONFIDENCE, Rate, flag_quality

F1_REPLICATES = 10_000
AUROC_REPLICATES = 1_000


@dataclass(frozen=True)
class Estimate:
    """A figure with its 95 % bootstrap interval; all NaN where it has no value."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Quality:
    """Marks of rows held against labels.

    Attributes:
        recall: Marked part of the positive rows.
        precision: Positive part of the marked rows.
        f1: NaN where no row is positive.
        false_positive_rate: Marked part of the other rows.
    """

    recall: Rate
    precision: Rate
    f1: Estimate
    false_positive_rate: Rate


@dataclass(frozen=True)
class Overlap:
    """How two methods mark the same rows.

    Attributes:
        kappa: Cohen's; NaN where both mark all rows or both none, so that chance alone agrees.
    """

    both: int
    only_first: int
    only_second: int
    neither: int
    kappa: float


_NO_VALUE = Estimate(float("nan"), float("nan"), float("nan"))


def quality(marked: Marks, positive: Marks, seed: int) -> Quality:
    """Hold marks against labels, both of shape (n,); `seed` is that of the bootstrap."""
    found = flag_quality(marked, positive)
    return Quality(
        recall=found.recall,
        precision=found.precision,
        f1=_f1(found.recall, found.false_positive_rate, seed),
        false_positive_rate=found.false_positive_rate,
    )


def _f1(recall: Rate, alarms: Rate, seed: int) -> Estimate:
    """F1 from its counts; drawing rows with replacement draws binomial counts."""
    if not recall.n:
        return _NO_VALUE
    rng = np.random.default_rng(seed)
    hits = rng.binomial(recall.n, recall.value, F1_REPLICATES)
    false = rng.binomial(alarms.n, alarms.value if alarms.n else 0.0, F1_REPLICATES)
    low, high = _percentiles(2 * hits / (hits + false + recall.n))
    return Estimate(2 * recall.k / (recall.k + alarms.k + recall.n), low, high)


def auroc(suspicion: Floats, positive: Marks) -> float:
    """The chance that a positive row is more suspicious than another one, ties counting half.

    Args:
        suspicion: High is suspicious; NaN, where a method says nothing, is below all else. (n,)
        positive: The labels, some of each kind. (n,)
    """
    n_positive, n_negative = int(positive.sum()), int((~positive).sum())
    ranks = rankdata(_ranked(suspicion))
    above = ranks[positive].sum() - n_positive * (n_positive + 1) / 2
    return float(above / n_positive / n_negative)


def auroc_estimate(suspicion: Floats, positive: Marks, seed: int) -> Estimate:
    """`auroc` with its interval; no value where the labels are all alike, or nothing is said."""
    if positive.all() or not positive.any() or np.isnan(suspicion).all():
        return _NO_VALUE
    _, level = np.unique(_ranked(suspicion), return_inverse=True)
    rng = np.random.default_rng(seed)
    drawn = [_redrawn(level[positive], level[~positive], rng) for _ in range(AUROC_REPLICATES)]
    return Estimate(auroc(suspicion, positive), *_percentiles(np.array(drawn)))


def _redrawn(positive: Ints, negative: Ints, rng: np.random.Generator) -> float:
    """AUROC of rows that are drawn anew, from their levels: (n_positive,), (n_negative,)."""
    n_levels = int(max(positive.max(), negative.max())) + 1
    up, down = (
        np.bincount(level[rng.integers(level.size, size=level.size)], minlength=n_levels)
        for level in (positive, negative)
    )
    below = np.cumsum(down) - down / 2
    return float(up @ below) / positive.size / negative.size


def _ranked(suspicion: Floats) -> Floats:
    return np.where(np.isnan(suspicion), -np.inf, suspicion)


def _percentiles(values: Floats) -> tuple[float, float]:
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(values, [tail, 1 - tail])
    return float(low), float(high)


def overlap(first: Marks, second: Marks) -> Overlap:
    """Count what two methods mark, both of shape (n,), and Cohen's kappa of it."""
    both, neither = int((first & second).sum()), int((~first & ~second).sum())
    n, n_first, n_second = first.size, int(first.sum()), int(second.sum())
    seen = (both + neither) / n if n else float("nan")
    chance = (n_first * n_second + (n - n_first) * (n - n_second)) / n**2 if n else float("nan")
    kappa = (seen - chance) / (1 - chance) if chance < 1 else float("nan")
    return Overlap(both, n_first - both, n_second - both, neither, kappa)
