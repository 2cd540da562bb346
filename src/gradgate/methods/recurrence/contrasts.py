"""Contrasts: a signal of the gradient in the rows of a group against that of all other rows."""

from dataclasses import dataclass

import numpy as np
from scipy.stats import norm, rankdata

from gradgate.common.arrays import Floats, Marks
from gradgate.methods.evidence import Contrast


@dataclass(frozen=True, eq=False)
class Ranked:
    """A signal, ranked once for all groups.

    Attributes:
        name: Of the signal.
        values: Of all rows. (n,)
        is_known: Rows that have one. (n,)
        ranks: Of the known values from 1, the mean where some are equal; 0 for others. (n,)
        ties: Sum of t^3 - t over the values that t rows share.
    """

    name: str
    values: Floats
    is_known: Marks
    ranks: Floats
    ties: float

    @classmethod
    def of(cls, name: str, values: Floats) -> "Ranked":
        """Rank a signal."""
        is_known = np.isfinite(values)
        ranks = np.zeros(len(values))
        ranks[is_known] = rankdata(values[is_known])
        _, counts = np.unique(values[is_known], return_counts=True)
        equal = counts.astype(np.float64)
        return cls(name, values, is_known, ranks, float((equal**3 - equal).sum()))

    def contrast(self, inside: Marks) -> Contrast | None:
        """The marked rows against all others; None where either side has none.

        The p-value is that of the Mann-Whitney test: normal approximation, both sides, corrected
        for ties and continuity.
        """
        here, there = self.is_known & inside, self.is_known & ~inside
        n_here, n_there = int(here.sum()), int(there.sum())
        if not n_here or not n_there:
            return None
        n, pairs = n_here + n_there, n_here * n_there
        u = float(self.ranks[here].sum()) - n_here * (n_here + 1) / 2
        width = np.sqrt(pairs / 12 * (n + 1 - self.ties / (n * (n - 1))))
        away = max(u, pairs - u) - pairs / 2 - 0.5
        return Contrast(
            self.name,
            float(np.median(self.values[here])),
            float(np.median(self.values[there])),
            u / pairs,
            min(1.0, 2 * float(norm.sf(away / width))) if width > 0 else 1.0,
        )
