"""Samples that share a surprising string of their targets."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from gradgate.common.arrays import Ints, Marks
from gradgate.methods.recurrence.strings.memory import Memory
from gradgate.methods.recurrence.strings.stream import tokens_of
from gradgate.methods.recurrence.strings.surprise import Segments

MIN_NATS = 9.0  # of a segment in a group of many samples; docs/methods.md has its null
MIN_NATS_OF_FEW = 12.0  # of the median segment in a group of few
MANY = 0.02  # of the samples
MIN_ROWS = 6  # samples of a group
MIN_CLUSTERS = 5  # of near-duplicate prompts among them


@dataclass(frozen=True, eq=False)
class Repeat:
    """Samples with surprising segments that share a gram.

    Attributes:
        members: Which samples. (n,)
        n_clusters: Clusters of near-duplicate prompts among them.
        segments: The most surprising one of each member, of those that share the gram.
    """

    members: Marks
    n_clusters: int
    segments: Segments

    @classmethod
    def of(cls, segments: Segments, cluster: Ints) -> Self:
        """The samples that have some segments, each once.

        Args:
            segments: One or several of each member.
            cluster: Of near-duplicate prompts. (n,)
        """
        best = segments.best()
        members = np.zeros(len(cluster), bool)
        members[best.sample] = True
        return cls(members, len(np.unique(cluster[members])), best)


def repeats(segments: Segments, memory: Memory, cluster: Ints) -> list[Repeat]:
    """Groups of segments that are linked by their grams, those of the most samples first.

    Args:
        segments: Of the targets.
        memory: Of these.
        cluster: Of near-duplicate prompts. (n,)
    """
    surprising = segments.among(segments.nats >= MIN_NATS)
    n = len(surprising.nats)
    if not n:
        return []
    owner = np.repeat(np.arange(n), surprising.stop - surprising.start)
    _, gram = np.unique(memory.gram[tokens_of(surprising.at)], return_inverse=True)
    size = n + int(gram.max()) + 1
    links = coo_array((np.ones(len(owner)), (owner, gram + n)), shape=(size, size))
    _, component = connected_components(links, directed=False)
    linked = component[:n]
    many = np.flatnonzero(np.bincount(linked) >= MIN_ROWS)
    found = [Repeat.of(surprising.among(linked == one), cluster) for one in many]
    return sorted(filter(is_enough, found), key=lambda r: -int(r.members.sum()))


def is_enough(repeat: Repeat, is_part: bool = False) -> bool:
    """Whether so many samples share so much that they are a group.

    A part of what is linked was chosen among many, so the bar of few samples holds for it.
    """
    n = int(repeat.members.sum())
    if n < MIN_ROWS or repeat.n_clusters < MIN_CLUSTERS:
        return False
    is_many = n >= MANY * len(repeat.members) and not is_part
    enough = MIN_NATS if is_many else MIN_NATS_OF_FEW
    return float(np.median(repeat.segments.nats)) >= enough
