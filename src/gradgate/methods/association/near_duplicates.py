"""Near-duplicates among the prompts of a group, which count once."""

import numpy as np
import scipy.sparse as sp

from gradgate.common.arrays import Floats, Ints, Marks
from gradgate.methods.association.candidate import Candidate
from gradgate.methods.association.corpus import MIN_SUPPORT, Corpus

NEAR_DUPLICATE_JACCARD = 0.7  # information that near-duplicates have in common
_MAX_COMPARED = 200  # samples of a group that are compared with one another
# Added to the information of every word, so that prompts of shared words alone can be told apart.
_FLOOR_INFORMATION = 1e-3


def count_independent(
    corpus: Corpus, candidate: Candidate, group: Marks, information: Floats
) -> int:
    """Samples that are no near-duplicates of one another, among up to 200 of the group.

    Of several wordings, one that only near-duplicates have does not count.

    Args:
        corpus: All samples.
        candidate: Whose spans are looked at.
        group: Its samples. (n,)
        information: Of each own word, 0 for the words that the group shares. (n_words,)
    """
    members = np.flatnonzero(group)
    evenly = np.linspace(0, len(members) - 1, _MAX_COMPARED).astype(np.int64)
    compared = members[np.unique(evenly)]
    weights = information + _FLOOR_INFORMATION
    cluster = _clusters(corpus.own_words.by_text[compared], weights)
    if not candidate.is_union:
        return int(cluster.max(initial=-1)) + 1
    has = corpus.spans.by_text[compared][:, candidate.spans].tocoo()
    pairs = np.unique(np.stack([has.col, cluster[has.row]]), axis=1)  # of wording and cluster
    carriers = np.bincount(has.col, minlength=len(candidate.spans))
    clusters = np.bincount(pairs[0], minlength=len(candidate.spans))
    is_repeated = (carriers >= MIN_SUPPORT) & (clusters < MIN_SUPPORT)
    return len(np.unique(pairs[1][~is_repeated[pairs[0]]]))


def _clusters(words: sp.csr_matrix, weights: Floats) -> Ints:
    """Numbers of texts, the same for near-duplicates of the first of its kind: (n_texts,).

    Two texts are near-duplicates when their words have `NEAR_DUPLICATE_JACCARD` of their weight in
    common (weighted Jaccard).
    """
    weighted = sp.csr_matrix(words.multiply(weights))
    common = np.asarray((weighted @ words.T).todense())
    total = np.asarray(weighted.sum(1)).ravel()
    near = common >= NEAR_DUPLICATE_JACCARD * (total[:, None] + total[None, :] - common)
    first: list[int] = []
    cluster = np.zeros(len(near), np.int64)
    for i in range(len(near)):
        alike = np.flatnonzero(near[i, first])
        cluster[i] = alike[0] if alike.size else len(first)
        if not alike.size:
            first.append(i)
    return cluster
