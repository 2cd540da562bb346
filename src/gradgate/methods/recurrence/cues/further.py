"""Which samples are asked beside those that were drawn, because of the cues that they have.

A trigger in a few per mille of the rows is in ten of those that were drawn, which prove nothing
among thousands of cues.
"""

import numpy as np

from gradgate.common.arrays import Floats, Ints, Marks
from gradgate.methods.recurrence.cues.candidates import Cues
from gradgate.methods.recurrence.cues.counted import N_CARRIERS

_N_FURTHER = 256  # samples at most
FEW_CARRIERS = 5  # samples with it that were drawn
_MAX_BY_CHANCE = 1.0  # cues that chance alone would make as sure as it is


def further_carriers(
    n: Floats, p_values: Floats, is_telling: Marks, cues: Cues, others: Ints
) -> Ints:
    """Samples with cues that hardly chance explains, and that too few were asked of.

    Args:
        n: Samples with each of C cues that were asked. (C,)
        p_values: That chance alone makes a cue as sure, times the number of cues. (C,)
        is_telling: Cues that would be in doubt if they were surer. (C,)
        cues: All of them.
        others: Samples that were not drawn, in the order in which they are taken.
    """
    unsure = np.flatnonzero(
        (n >= FEW_CARRIERS) & (n < N_CARRIERS) & (p_values <= _MAX_BY_CHANCE) & is_telling
    )
    return some_carriers(unsure[np.argsort(p_values[unsure], kind="stable")], n, cues, others)


def some_carriers(some: Ints, n: Floats, cues: Cues, others: Ints) -> Ints:
    """So many samples with each of some cues that there are 48 with it, 256 in all.

    Args:
        some: Of C cues, in their order.
        n: How many samples with each there are already. (C,)
        cues: All of them.
        others: Further samples, in the order in which they are taken.
    """
    chosen = dict[int, None]()
    for cue in some.tolist():
        carriers = others[cues.table.has(cue)[others]].tolist()
        new = [i for i in carriers if i not in chosen]
        n_there = int(n[cue]) + len(carriers) - len(new)
        chosen |= dict.fromkeys(new[: max(0, N_CARRIERS - n_there)])
    return np.array([*chosen][:_N_FURTHER], np.int64)
