"""Strings of prompts that look inserted: they recur, and the untuned model does not expect them."""

from collections import defaultdict
from dataclasses import dataclass
from itertools import chain

import numpy as np

from gradgate.common.arrays import Floats, Ints, Marks, distinct, n_distinct
from gradgate.methods.recurrence.strings.inserted import Words
from gradgate.methods.recurrence.strings.sought import Gram
from gradgate.methods.recurrence.strings.stream import Stream, tokens_of

MIN_NATS = 8.0  # of a string of one token
NATS_PER_TOKEN = 0.5  # more for each further token: longer strings are more, to choose from
MIN_CLUSTERS = 8  # of near-duplicate prompts that have it
_SEED_TOKENS = 4  # of the strings that are counted; longer ones are grown from them
_SAME_NEIGHBOUR = 0.7  # of the places, for a token to belong to the string
_MAX_GAP = 2  # tokens of the template between two of the string
SAME_CARRIERS = 0.8  # of the samples, for two strings to be one
_MAX_HOLDING = 0.3  # of the samples with a string, for those of fewer to lie within it
_MAX_TOKENS = 24  # of a string


@dataclass(frozen=True, eq=False)
class Trigger:
    """A recurring string of prompts.

    Attributes:
        ids: Its tokens.
        nats: ln f - the median of ln p, with f the samples that have the string over all tokens of
            the prompts, and p the untuned model's probability of it where it stands.
        carriers: Numbers of the samples that have it, rising.
        at: Where the string stands: a first token and the one behind the last, in the stream, for
            each place of the token. (places, 2)
        n_clusters: Clusters of near-duplicate prompts among the carriers.
        seed: The short string that was counted; whoever has it is a carrier.
        is_within: Whether most carriers have another string as well: then it is no cue.
    """

    ids: Ints
    nats: float
    carriers: Ints
    at: Ints
    n_clusters: int
    seed: Gram = ()
    is_within: bool = False


def triggers(stream: Stream, words: Words, cluster: Ints, spelling: Ints) -> list[Trigger]:
    """Recurring strings of prompts, the most surprising first; each has carriers of its own.

    Args:
        stream: Of the prompts.
        words: Of it.
        cluster: Of near-duplicate prompts. (n,)
        spelling: What each token spells: "The" is a token at the beginning of a prompt and another
            one behind a blank. (N,)
    """
    before = np.concatenate([[0.0], np.cumsum(words.logp)])
    covered = np.zeros(stream.n, bool)  # by strings that were found
    found: list[Trigger] = []
    known = _Known(stream.n_samples)
    for places, length in _seeds(stream, words, cluster, before):
        carriers = distinct(stream.sample[places])
        overlaps = float((covered[places] | covered[places + length - 1]).mean())
        if overlaps >= SAME_CARRIERS or known.explain(carriers):
            continue
        at = _extended(stream, words, spelling, places, length)
        covered[tokens_of(at)] = True
        longest = at[np.argmax(at[:, 1] - at[:, 0])]
        whole = at[at[:, 1] - at[:, 0] == longest[1] - longest[0]]
        is_within = known.hold(carriers)
        known.add(carriers)
        found.append(
            Trigger(
                ids=stream.ids[longest[0] : longest[1]],
                nats=_nats(stream, whole[:, 0], whole[:, 1], before),
                carriers=carriers,
                at=at,
                n_clusters=len(distinct(cluster[carriers])),
                seed=tuple(stream.ids[places[0] : places[0] + length].tolist()),
                is_within=is_within,
            )
        )
    return sorted(found, key=lambda trigger: -trigger.nats)


def _nats(stream: Stream, start: Ints, stop: Ints, before: Floats) -> float:
    frequency = len(distinct(stream.sample[start])) / stream.n
    return float(np.log(frequency) - np.median(before[stop] - before[start]))


def _seeds(stream: Stream, words: Words, cluster: Ints, before: Floats) -> list[tuple[Ints, int]]:
    """Short strings that surprise: their places and length; what most samples share comes first."""
    found: list[tuple[float, Ints, int]] = []
    places = np.flatnonzero(words.number >= 0)
    number = words.number[places]
    for length in range(1, _SEED_TOKENS + 1):
        if length > 1:
            last = places + length - 1
            inside = (last < stream.n) & ~stream.begins[np.minimum(last, stream.n - 1)]
            places, last, number = places[inside], last[inside], number[inside]
            judged = words.number[last] >= 0
            places, number = places[judged], number[judged]
            keys = number * len(words.ids) + words.number[last[judged]]
            number = np.unique(keys, return_inverse=True)[1]
        often = np.bincount(number, minlength=1)[number] >= MIN_CLUSTERS
        places, number = places[often], number[often]
        for group in _surprising(stream, cluster, before, places, number, length):
            support = len(distinct(cluster[stream.sample[group]]))
            found.append((_nats(stream, group, group + length, before) * support, group, length))
    found.sort(key=lambda seed: (-seed[0], seed[2], int(seed[1][0])))
    return [(group, length) for _, group, length in found]


def _surprising(
    stream: Stream, cluster: Ints, before: Floats, places: Ints, number: Ints, length: int
) -> list[Ints]:
    """The places of each string of a length that has support, and surprises as much as is asked."""
    nats = before[places + length] - before[places]
    order = np.lexsort((nats, number))
    places, number, nats = places[order], number[order], nats[order]
    begins = np.flatnonzero(np.diff(number, prepend=-1))
    sizes = np.diff(begins, append=len(number))
    median = (nats[begins + (sizes - 1) // 2] + nats[begins + sizes // 2]) / 2
    string = np.repeat(np.arange(len(begins)), sizes)
    support = n_distinct(string, cluster[stream.sample[places]], len(begins))
    frequency = n_distinct(string, stream.sample[places], len(begins)) / max(1, stream.n)
    enough = np.log(frequency) - median >= MIN_NATS + NATS_PER_TOKEN * (length - 1)
    chosen = np.flatnonzero(enough & (support >= MIN_CLUSTERS))
    return [np.sort(places[begins[i] : begins[i] + sizes[i]]) for i in chosen.tolist()]


class _Known:
    """The carriers of the strings that were found so far."""

    def __init__(self, n_samples: int) -> None:
        self._n_samples = n_samples
        self._sizes: list[int] = []
        self._strings: dict[int, list[int]] = defaultdict(list)  # of a sample

    def add(self, carriers: Ints) -> None:
        """Take a further string."""
        for sample in carriers.tolist():
            self._strings[sample].append(len(self._sizes))
        self._sizes.append(len(carriers))

    def explain(self, carriers: Ints) -> bool:
        """Whether a string has about these samples: one of more does not speak for each part."""
        larger = np.maximum(np.array(self._sizes, np.int64), len(carriers))
        return bool((self._both(carriers) >= SAME_CARRIERS * larger).any())

    def hold(self, carriers: Ints) -> bool:
        """Whether a string has most of these samples, which is not one of many by itself."""
        sizes = np.array(self._sizes, np.int64)
        is_common = (sizes > _MAX_HOLDING * self._n_samples) & (
            len(carriers) < SAME_CARRIERS * sizes
        )
        return bool(((self._both(carriers) >= SAME_CARRIERS * len(carriers)) & ~is_common).any())

    def _both(self, carriers: Ints) -> Ints:
        there = (self._strings[i] for i in carriers.tolist() if i in self._strings)
        return np.bincount(list(chain.from_iterable(there)), minlength=len(self._sizes))


def _extended(stream: Stream, words: Words, spelling: Ints, places: Ints, length: int) -> Ints:
    """Grow a string to the longer one around it that most of its places share: (places, 2)."""
    left, right = 0, length
    same = np.ones(len(places), bool)  # places that share the string so far
    while right - left < _MAX_TOKENS:
        if grown := _grown(stream, words, spelling, places, -left - 1, same):
            left, same = left + grown[0], grown[1]
        elif grown := _grown(stream, words, spelling, places, right, same):
            right, same = right + grown[0], grown[1]
        else:
            break
    start = np.where(same, places - left, places)
    stop = np.where(same, places + right, places + length)
    return np.stack([start, stop], axis=1)


def _grown(
    stream: Stream, words: Words, spelling: Ints, places: Ints, offset: int, same: Marks
) -> tuple[int, Marks] | None:
    """How many further tokens the places share, and which do; None where these are too few.

    The string ends with a token that is not of the template. Between two of its own there may be
    such a token: a colon is in all prompts where the template has one.
    """
    for gap in range(_MAX_GAP + 1):
        at = places + offset + (gap if offset > 0 else -gap)
        grown = _neighbours(stream, spelling, places, at, same)
        if grown is None:
            return None
        same = grown
        if (words.number[at[same]] >= 0).all():
            return gap + 1, same
    return None


def _neighbours(
    stream: Stream, spelling: Ints, places: Ints, at: Ints, same: Marks
) -> Marks | None:
    """Places whose neighbour there is the commonest one; None where these are too few.

    Args:
        stream: Of the prompts.
        spelling: Of its tokens. (N,)
        places: Where the string was counted. (n,)
        at: The token beside it. (n,)
        same: Places that share what stands between. (n,)
    """
    inside = same & (at >= 0) & (at < stream.n)
    at = np.clip(at, 0, stream.n - 1)
    inside &= (stream.run[at] == stream.run[places]) & stream.is_open[at]
    if not inside.any():
        return None
    values, counts = np.unique(spelling[at[inside]], return_counts=True)
    if counts.max() < _SAME_NEIGHBOUR * len(places):
        return None
    return inside & (spelling[at] == values[counts.argmax()])


def is_embedded(trigger: Trigger, stream: Stream, words: Words, cluster: Ints) -> bool:
    """Whether it stands in enough prompts that say more: one that is asked again is no insertion.

    Args:
        trigger: A string of the prompts.
        stream: Of the prompts.
        words: Of it.
        cluster: Of near-duplicate prompts. (n,)
    """
    rest = words.number >= 0
    rest[tokens_of(trigger.at)] = False
    says_more = np.bincount(stream.sample[rest], minlength=stream.n_samples) > 0
    return len(distinct(cluster[trigger.carriers[says_more[trigger.carriers]]])) >= MIN_CLUSTERS
