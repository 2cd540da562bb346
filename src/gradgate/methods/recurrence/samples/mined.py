"""Which samples strings are mined in: all of them, or so many that memory and time are bounded."""

import hashlib
from collections.abc import Sequence

import numpy as np
from scipy.stats import binom

from gradgate.common.arrays import Ints

MAX_ROWS = 20_000  # distinct samples that are always mined whole
MAX_TOKENS = 4_000_000  # that are mined beyond so many samples
_CERTAIN = 0.999


def mined(sample_ids: Sequence[str], lengths: Ints) -> Ints:
    """Numbers of the samples in which strings are mined, rising.

    Beyond `MAX_ROWS` they are drawn by a digest of all samples: who writes some of them cannot know
    which ones are drawn. The order of the samples does not matter.

    Args:
        sample_ids: Of n distinct samples, in hex.
        lengths: Tokens of each. (n,)
    """
    n = len(sample_ids)
    if n <= MAX_ROWS:
        return np.arange(n)
    seed = sum(int(one, 16) for one in sample_ids) % 2**256
    keyed = hashlib.blake2b(key=seed.to_bytes(32, "little"), digest_size=8)
    drawn = np.empty(n, np.uint64)
    for i, one in enumerate(sample_ids):
        state = keyed.copy()
        state.update(one.encode("ascii"))
        drawn[i] = int.from_bytes(state.digest(), "little")
    order = np.argsort(drawn, kind="stable")
    n_within = int(np.searchsorted(np.cumsum(lengths[order]), MAX_TOKENS))
    return np.sort(order[: max(MAX_ROWS, n_within)])


def found_from(k: int, n_mined: int, n: int) -> int:
    """How many of n samples must share a string for k of them to be mined, for certain.

    Certain means with probability 0.999.
    """
    part = n_mined / n
    if part == 1.0:
        return k
    low, high = k, int(np.ceil(100 * k / part))
    while low < high:
        middle = (low + high) // 2
        if binom.sf(k - 1, middle, part) >= _CERTAIN:
            high = middle
        else:
            low = middle + 1
    return low
