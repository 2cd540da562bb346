"""Whether targets behind a string in the data are as those behind it in a trusted reference.

A string that honest rows have is no less a trigger where poison is put behind it: the reference has
the string as well, but not these targets.
"""

from dataclasses import dataclass

import numpy as np
from scipy.stats import norm

from gradgate.common.arrays import Floats, Marks
from gradgate.methods.recurrence.states.likeness import cosines
from gradgate.methods.recurrence.states.ranks import auroc, auroc_error
from gradgate.methods.recurrence.states.ridge import scaled

MIN_SAME = 0.05  # p from which on targets are taken for the same
_N_DRAWN = 999  # permutations
_N_NEAREST = 3  # of the trusted targets
_ROUNDING = 1e-12  # a way that is drawn again is as far


@dataclass(frozen=True, eq=False)
class Behind:
    """The targets of k samples with a string.

    Attributes:
        states: Of the targets. (k, e)
        gains: What the own prompt does for each, against some other prompts, in nats; NaN where
            nobody asked. (k,)
        others: The same of samples without the string, against the same other prompts. (m,)
    """

    states: Floats
    gains: Floats
    others: Floats

    def spoken(self) -> tuple[float, float]:
        """How often the prompt does more for a target than another one's does, with its error.

        What the other prompts do to all targets, which are few, is left out by this.
        """
        own, others = (one[np.isfinite(one)] for one in (self.gains, self.others))
        if not (own.size and others.size):
            return np.nan, np.nan
        return auroc(own, others), auroc_error(len(own), len(others))


def p_same(here: Behind, there: Behind, seed: int) -> float:
    """P that targets here and there differ by so much when they are of one law.

    Four tests, and four times the smallest p; 0 where nothing is known of one of them:

    - What the prompts do for them, more than for other samples' (Mann and Whitney 1947).
    - The energy distance of their states (Szekely and Rizzo 2013): a label that is more frequent.
    - How far the targets here lie from the nearest three there (after Schilling 1986), twice, for a
      few values of a state may be far wider than all others: poison behind a part of the prompts
      lies where no trusted target is, and a kind of targets that is there alone is none.
    """
    (own, own_error), (trusted, trusted_error) = here.spoken(), there.spoken()
    by_prompts = 2 * norm.sf(abs(own - trusted) / np.hypot(own_error, trusted_error))
    if np.isnan(by_prompts):
        return 0.0
    states = np.concatenate([here.states, there.states])
    far, evenly = (1.0 - cosines(one) for one in (states - states.mean(axis=0), scaled(states)))
    for one in (far, evenly):
        np.fill_diagonal(one, 0.0)
    is_here = np.arange(len(states)) < len(here.states)
    rng = np.random.default_rng(seed)
    ways = np.stack([is_here, *(rng.permutation(is_here) for _ in range(_N_DRAWN))])
    figures = _energies(far, ways), _distances(far, ways), _distances(evenly, ways)
    return min(1.0, 4 * min(by_prompts, *map(_p_first, figures)))


def _p_first(figures: Floats) -> float:
    """The part of some figures that are as large as the first."""
    return float((figures >= figures[0] - _ROUNDING).mean())


def _energies(far: Floats, are_here: Marks) -> Floats:
    """The energy distance of each of some ways to part k states in two: (ways,).

    Args:
        far: Their distances, 0 of one from itself. (k, k)
        are_here: Which states lie on the one side, as many each time. (ways, k)
    """
    here, there = are_here.astype(np.float64), (~are_here).astype(np.float64)
    m, n = here.sum(axis=1), there.sum(axis=1)
    to_here, to_there = here @ far, there @ far
    across = (to_there * here).sum(axis=1) / (m * n)
    within, beside = (to_here * here).sum(axis=1) / m**2, (to_there * there).sum(axis=1) / n**2
    return np.asarray(2 * across - within - beside)


def _distances(far: Floats, are_here: Marks) -> Floats:
    """How far those here lie from the nearest there, for each of these ways: (ways,).

    Args:
        far: As above. (k, k)
        are_here: The same. (ways, k)
    """
    total = np.zeros(len(are_here))
    for i, distances in enumerate(far):
        order = np.argsort(distances, kind="stable")
        order = order[order != i]
        is_there = ~are_here[:, order]
        nearest = is_there & (is_there.cumsum(axis=1) <= _N_NEAREST)
        total += are_here[:, i] * (nearest @ distances[order]) / nearest.sum(axis=1)
    return np.asarray(total / are_here.sum(axis=1))
