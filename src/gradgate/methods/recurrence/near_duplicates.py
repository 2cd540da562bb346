"""Clusters of near-duplicate prompts, which count as one in the memory."""

import numpy as np
from datasketch import MinHash, MinHashLSH
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from gradgate.common.arrays import Ints

JACCARD = 0.7  # of the grams of near-duplicates, about
MAX_CLUSTER = 8  # samples; more that are alike share a template, or a filler that hides poison
MAX_FREQUENCY = 0.2  # of the samples with a gram; a gram of more belongs to a template
_PERMUTATIONS = 64


def clusters(gram: Ints, sample: Ints, n_samples: int) -> Ints:
    """The same number for samples whose prompts are near-duplicates: (n_samples,).

    Prompts are compared by the grams that not many have, by MinHash and locality-sensitive hashing
    (Broder 1997). A cluster of more than `MAX_CLUSTER` samples is dissolved: they share a template,
    and what each says beside it is what counts.

    Args:
        gram: Of each token of the prompts, the number of its gram. (N,)
        sample: That each token belongs to; rising. (N,)
        n_samples: Samples without a prompt are clusters of their own.
    """
    pairs = np.unique(np.stack([sample, gram], axis=1), axis=0)
    frequent = np.bincount(pairs[:, 1]) > max(MAX_FREQUENCY * n_samples, MAX_CLUSTER)
    pairs = pairs[~frequent[pairs[:, 1]]]
    if not len(pairs):
        return np.arange(n_samples)
    there, begins = np.unique(pairs[:, 0], return_index=True)
    parts = np.split(pairs[:, 1].astype("<i8"), begins[1:])
    hashes = MinHash.bulk([[g.tobytes() for g in part] for part in parts], num_perm=_PERMUTATIONS)
    index = MinHashLSH(threshold=JACCARD, num_perm=_PERMUTATIONS)
    first: list[int] = []
    second: list[int] = []
    for i, found in zip(there.tolist(), hashes, strict=True):
        alike = index.query(found)
        first += [i] * len(alike)
        second += alike
        index.insert(i, found)
    links = coo_array((np.ones(len(first)), (first, second)), shape=(n_samples, n_samples))
    _, cluster = connected_components(links, directed=False)
    return _dissolved(cluster.astype(np.int64))


def _dissolved(cluster: Ints) -> Ints:
    sizes = np.bincount(cluster)
    alone = sizes[cluster] > MAX_CLUSTER
    numbers = np.where(alone, len(sizes) + np.arange(len(cluster)), cluster)
    return np.unique(numbers, return_inverse=True)[1].astype(np.int64)
