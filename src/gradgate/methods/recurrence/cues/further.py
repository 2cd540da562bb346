"""How many samples a cue is judged by, and which are asked beside those that were drawn.

A trigger in a few per mille of the rows is in ten of those that were drawn, which prove nothing
among thousands of cues.
"""

import numpy as np

from gradgate.common.arrays import Floats, Ints, Marks
from gradgate.methods.recurrence.cues.candidates import Cues

N_CARRIERS = 48  # samples with a cue, all of which count
N_COUNTED = 512  # of those that were drawn, as a part of which more of them count
_N_FURTHER = 256  # samples at most
FEW_CARRIERS = 5  # samples with it that were drawn
_MAX_BY_CHANCE = 1.0  # cues that chance alone would make as sure as it is


def counted(n: Floats, k: int, few: int = N_CARRIERS) -> Floats:
    """How many of the n samples with each cue count as evidence, where k were asked.

    All of them up to a few, and of more as many as there would be among 512: with every row asked,
    a kind of prompt that tells a little less than others would be beyond chance as well.
    """
    found: Floats = np.maximum(n * min(1.0, N_COUNTED / max(1, k)), np.minimum(n, few))
    return found


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
