"""How many of the samples with a cue count as evidence of it."""

import numpy as np

from gradgate.common.arrays import Floats

N_CARRIERS = 48  # samples with a cue, all of which count
N_COUNTED = 512  # of those that were asked, as a part of which more of them count


def counted(n: Floats, k: int, few: int = N_CARRIERS) -> Floats:
    """How many of the n samples with each cue count, where k were asked.

    All of them up to a few, and of more as many as there would be among 512: with every row asked,
    a kind of prompt that tells a little less than others would be beyond chance as well.
    """
    found: Floats = np.maximum(n * min(1.0, N_COUNTED / max(1, k)), np.minimum(n, few))
    return found
