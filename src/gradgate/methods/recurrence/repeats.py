"""Samples that share a surprising string of their targets."""

from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from gradgate.common.arrays import Ints, Marks
from gradgate.methods.recurrence.memory import Memory
from gradgate.methods.recurrence.surprise import Segments

MIN_NATS = 9.0  # of a segment in a group of many samples; docs/methods.md has its null
MIN_NATS_OF_FEW = 12.0  # of the median segment in a group of few
MANY = 0.02  # of the samples
MIN_ROWS = 6  # samples of a group
MIN_CLUSTERS = 5  # of near-duplicate prompts among them


@dataclass(frozen=True, eq=False)
class Repeat:
    """Samples whose most surprising segments share a gram.

    Attributes:
        members: Which samples. (n,)
        n_clusters: Clusters of near-duplicate prompts among them.
    """

    members: Marks
    n_clusters: int


def repeats(segments: Segments, memory: Memory, cluster: Ints) -> list[Repeat]:
    """Groups of samples that are linked by the grams of their segments, the largest first."""
    surprising = np.flatnonzero(segments.nats >= MIN_NATS)
    if not surprising.size:
        return []
    grams = [memory.gram[segments.start[i] : segments.stop[i]] for i in surprising]
    owner = np.repeat(np.arange(len(surprising)), [len(some) for some in grams])
    _, gram = np.unique(np.concatenate(grams), return_inverse=True)
    size = len(surprising) + int(gram.max()) + 1
    places = (owner, gram + len(surprising))
    links = coo_array((np.ones(len(owner)), places), shape=(size, size))
    _, component = connected_components(links, directed=False)
    found = []
    for number in np.unique(component[: len(surprising)]):
        members = np.zeros(len(cluster), bool)
        members[surprising[component[: len(surprising)] == number]] = True
        found.append(Repeat(members, len(np.unique(cluster[members]))))
    kept = [r for r in found if _is_enough(r, segments)]
    return sorted(kept, key=lambda r: -int(r.members.sum()))


def _is_enough(repeat: Repeat, segments: Segments) -> bool:
    n = int(repeat.members.sum())
    nats = float(np.median(segments.nats[repeat.members]))
    enough = MIN_NATS if n >= MANY * len(repeat.members) else MIN_NATS_OF_FEW
    return n >= MIN_ROWS and repeat.n_clusters >= MIN_CLUSTERS and nats >= enough
