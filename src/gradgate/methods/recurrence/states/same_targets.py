"""Whether targets behind a string in the data are as those behind it in a trusted reference.

A string that honest rows have is no less a trigger where poison is put behind it: the reference has
the string as well, but not these targets.
"""

from dataclasses import dataclass

import numpy as np
from scipy.stats import mannwhitneyu

from gradgate.common.arrays import Floats, Marks
from gradgate.methods.recurrence.states.likeness import cosines

MIN_SAME = 0.05  # p from which on targets are taken for the same
_N_DRAWN = 999  # permutations
_ROUNDING = 1e-12  # sums in another order; a way that is drawn again is as far


@dataclass(frozen=True, eq=False)
class Behind:
    """The targets of k samples with a string.

    Attributes:
        states: Of the targets. (k, e)
        gains: What the own prompt does for each, against others, in nats; NaN where nobody asked.
            (k,)
    """

    states: Floats
    gains: Floats


def p_same(here: Behind, there: Behind, seed: int) -> float:
    """P that targets here and there differ by so much when they are of one law.

    By what they say, the energy distance of their states (Szekely and Rizzo 2013) under
    permutation, and by what their prompts do for them (Mann and Whitney 1947); twice the smaller p.
    0 where nothing is known of one of them.
    """
    own, trusted = (one.gains[np.isfinite(one.gains)].tolist() for one in (here, there))
    if not own or not trusted:
        return 0.0
    by_gain = float(mannwhitneyu(own, trusted).pvalue)
    states = np.concatenate([here.states, there.states])
    is_here = np.arange(len(states)) < len(here.states)
    far = 1.0 - cosines(states - states.mean(axis=0))
    np.fill_diagonal(far, 0.0)
    rng = np.random.default_rng(seed)
    drawn = np.stack([rng.permutation(is_here) for _ in range(_N_DRAWN)])
    found, *by_chance = _energies(far, np.vstack([is_here, drawn])).tolist()
    by_state = (1 + sum(one >= found - _ROUNDING for one in by_chance)) / (1 + _N_DRAWN)
    return min(1.0, 2 * min(by_gain, by_state))


def _energies(far: Floats, are_here: Marks) -> Floats:
    """The energy distance of each of some ways to part k states in two.

    Args:
        far: Their distances. (k, k)
        are_here: Which states lie on the one side, as many each time. (ways, k)
    """
    here, there = are_here.astype(np.float64), (~are_here).astype(np.float64)
    m, n = here.sum(axis=1), there.sum(axis=1)
    to_here, to_there = here @ far, there @ far
    across = (to_there * here).sum(axis=1) / (m * n)
    within, beside = (to_here * here).sum(axis=1) / m**2, (to_there * there).sum(axis=1) / n**2
    return np.asarray(2 * across - within - beside)
