"""Clusters of near-duplicate prompts, which count as one in the memory."""

import numpy as np
import numpy.typing as npt
from datasketch import MinHash, MinHashLSH
from datasketch.hashfunc import sha1_hash32
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from gradgate.common.arrays import Ints, distinct

JACCARD = 0.7  # of the grams of near-duplicates, about
MAX_CLUSTER = 8  # samples; more that are alike share a template, or a filler that hides poison
MAX_FREQUENCY = 0.2  # of the samples with a gram; a gram of more belongs to a template
_PERMUTATIONS = 64

Signatures = npt.NDArray[np.uint32]


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
    size = int(gram.max(initial=0)) + 1
    there, grams = np.divmod(distinct(sample.astype(np.int64) * size + gram), size)
    frequent = np.bincount(grams) > max(MAX_FREQUENCY * n_samples, MAX_CLUSTER)
    kept = ~frequent[grams]
    there, grams = there[kept], grams[kept]
    if not len(there):
        return np.arange(n_samples)
    samples, begins = np.unique(there, return_index=True)
    links = _links(_signatures(grams, begins[1:]), samples, n_samples)
    _, cluster = connected_components(links, directed=False)
    return _dissolved(cluster.astype(np.int64))


def _signatures(grams: Ints, borders: Ints) -> Signatures:
    """MinHash of the sets of grams between borders: (sets, _PERMUTATIONS)."""
    different, number = np.unique(grams, return_inverse=True)
    hashed = [sha1_hash32(one.tobytes()) for one in different.astype("<i8")]
    sets = np.split(np.array(hashed, np.int64)[number], borders)
    found = np.empty((len(sets), _PERMUTATIONS), np.uint32)
    made = MinHash.generator((s.tolist() for s in sets), num_perm=_PERMUTATIONS, hashfunc=int)
    for i, one in enumerate(made):
        found[i] = one.hashvalues
    return found


def _links(signatures: Signatures, samples: Ints, n_samples: int) -> coo_array:
    """Which samples agree in a band: the pairs that `MinHashLSH` finds, a band at a time.

    Its own tables of all bands are dictionaries, of some 3 KB a sample.
    """
    bands = MinHashLSH(threshold=JACCARD, num_perm=_PERMUTATIONS).hashranges
    first, second = [], []
    for start, stop in bands:
        band = np.ascontiguousarray(signatures[:, start:stop])
        whole = band.view([("", np.uint32)] * (stop - start))[:, 0]
        _, representative, number = np.unique(whole, return_index=True, return_inverse=True)
        alike = representative[number]
        again = np.flatnonzero(alike != np.arange(len(alike)))
        first.append(samples[again])
        second.append(samples[alike[again]])
    places = (np.concatenate(first), np.concatenate(second))
    return coo_array((np.ones(len(places[0])), places), shape=(n_samples, n_samples))


def _dissolved(cluster: Ints) -> Ints:
    sizes = np.bincount(cluster)
    alone = sizes[cluster] > MAX_CLUSTER
    numbers = np.where(alone, len(sizes) + np.arange(len(cluster)), cluster)
    return np.unique(numbers, return_inverse=True)[1].astype(np.int64)
