"""Whether some samples have targets that are alike, beyond what their prompts make of them.

Refusals that are each worded anew share no string. In the untuned model's hidden states they lie
together, and what the other samples teach of prompts and their targets does not explain it.
"""

from collections.abc import Mapping

import numpy as np

from gradgate.common.arrays import Floats, Ints
from gradgate.methods.contract import DescribeModel
from gradgate.methods.recurrence.ridge import Ridge, scaled
from gradgate.methods.recurrence.spoken import Exchange

_N_TOKENS = 32  # of the beginning of a target
_N_AXES = 50  # of the targets' hidden states, the widest


class Alike:
    """How alike the targets of k samples are."""

    def __init__(
        self, known: Mapping[int, Exchange], samples: Ints, describe: DescribeModel
    ) -> None:
        """Describe them.

        Args:
            known: Their prompts and targets, and those of others.
            samples: Their numbers. (k,)
            describe: The untuned model.
        """
        some = [known[i] for i in samples.tolist()]
        prompts = describe([one.prompt.tolist() for one in some])
        targets = describe([one.target[:_N_TOKENS].tolist() for one in some])
        there = np.isfinite(prompts).all(axis=1) & np.isfinite(targets).all(axis=1)
        self._place = {i: place for place, i in enumerate(samples[there].tolist())}
        self._cosines = _cosines(prompts[there], targets[there])

    def z(self, samples: Ints) -> float:
        """How much more alike the targets of some samples are than those of as many at random.

        In standard deviations of all draws without replacement (Mantel 1967, by counting the pairs
        that share a sample); minus infinity where too few are known.
        """
        some = [self._place[i] for i in samples.tolist() if i in self._place]
        m, k = len(some), len(self._cosines)
        if m < 4 or m >= k:
            return -np.inf
        by_sample = self._cosines.sum(axis=0)
        total, squares = float(by_sample.sum()), float((self._cosines**2).sum())
        sharing = float((by_sample**2).sum()) - squares
        two = m * (m - 1) / (k * (k - 1))
        three = two * (m - 2) / (k - 2)
        four = three * (m - 3) / (k - 3)
        mean = two * total
        apart = total**2 - 4 * sharing - 2 * squares
        variance = 2 * two * squares + 4 * three * sharing + four * apart - mean**2
        own = float(self._cosines[np.ix_(some, some)].sum())
        return (own - mean) / max(1e-9, variance) ** 0.5


def _cosines(prompts: Floats, targets: Floats) -> Floats:
    """Of what the prompts leave of the targets, between samples; 0 of one with itself: (k, k)."""
    if not len(targets):
        return np.zeros((0, 0))
    left, widths, _ = np.linalg.svd(scaled(targets), full_matrices=False)
    rest = Ridge.of(prompts, left[:, :_N_AXES] * widths[:_N_AXES]).error
    lengths = np.linalg.norm(rest, axis=1, keepdims=True)
    directions = rest / np.where(lengths > 0, lengths, 1.0)
    cosines = np.asarray(directions @ directions.T)
    np.fill_diagonal(cosines, 0.0)
    return cosines
