"""How much better the memory of other samples knows a token than the untuned model: in nats."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from gradgate.common.arrays import Floats, Ints, Marks
from gradgate.methods.recurrence.strings.memory import Memory
from gradgate.methods.recurrence.strings.stream import Stream

MIN_SUPPORT = 3  # other clusters that must have a gram, for the memory to know it
MAX_GAIN = 8.0  # nats of one token: one rare word alone proves nothing
_BREAK = -1e6  # no segment goes over such a token


@dataclass(frozen=True, eq=False)
class Segments:
    """Surprising segments of targets, S of them in the order of the stream.

    Attributes:
        sample: In whose target each lies; rising. (S,)
        nats: Its sum of gains, above 0. (S,)
        start: Its first token in the stream. (S,)
        stop: The token behind its last. (S,)
    """

    sample: Ints
    nats: Floats
    start: Ints
    stop: Ints

    @property
    def at(self) -> Ints:
        """Where they start and stop: (S, 2)."""
        return np.stack([self.start, self.stop], axis=1)

    def among(self, chosen: Marks | Ints) -> "Segments":
        """Some of them, in the same order."""
        return Segments(
            self.sample[chosen], self.nats[chosen], self.start[chosen], self.stop[chosen]
        )

    def best(self) -> "Segments":
        """The one with the largest sum of each sample that has any."""
        order = np.lexsort((-self.nats, self.sample))
        _, first = np.unique(self.sample[order], return_index=True)
        return self.among(order[first])

    def nats_of(self, n_samples: int) -> Floats:
        """The largest sum of each sample, 0 where it has no segment: (n,)."""
        nats = np.zeros(n_samples)
        np.maximum.at(nats, self.sample, self.nats)
        return nats


def gains(
    stream: Stream,
    memory: Memory,
    is_known: Marks,
    by_longer: bool = False,
    trusted: Floats | None = None,
) -> Floats:
    """The gain of each token: (N,).

    s = min(ln q - max(ln p, ln f), 8) + 2 min(0, ln q + ln 2), with q the memory, p the untuned
    model and f the token's frequency on this side of the data. A word that is frequent here is no
    surprise by itself, as a label is; what surprises is the order of words that only other samples
    could have told. Where the memory is not sure, it pays twice for each nat below one half. Tokens
    that too few others have, or that are not open, break every segment.

    Args:
        stream: The targets.
        memory: Of them.
        is_known: Tokens that are no gain: copied from the prompt, or of all targets alike. (N,)
        by_longer: Whether the memory is also asked by the five tokens before: decoys that have each
            pair of a payload's words with another word behind make it unsure by two.
        trusted: What samples that somebody vouches for would make one expect: ln p of each token,
            which is no gain where these are at least half as sure as the memory. (N,)
    """
    expected = np.maximum(stream.logp, memory.log_frequency)
    log_q = np.maximum(memory.log_q, memory.log_longer) if by_longer else memory.log_q
    log_q = np.where(memory.support > 0, log_q, 0.0)
    if trusted is not None:
        expected = np.maximum(expected, trusted)
        is_known = is_known | (log_q - trusted <= np.log(2))
    gain = np.minimum(log_q - expected, MAX_GAIN) + 2 * np.minimum(0.0, log_q + np.log(2))
    gain = np.where(is_known, np.minimum(gain, 0.0), gain)
    remembered = (memory.support >= MIN_SUPPORT) & stream.is_open
    return np.where(remembered | (is_known & stream.is_open), gain, _BREAK)


def surprising_segments(gain: Floats, begins: Marks, sample: Ints) -> Segments:
    """All segments that cannot be made longer or shorter without a loss, in each run.

    One segment of a sample would hide the others: a payload stood behind a stranger sentence that
    too few samples shared to be a group. Linear in the number of tokens (Ruzzo and Tompa 1999, "A
    linear time algorithm for finding all maximal scoring subsequences").

    Args:
        gain: Of each token. (N,)
        begins: Which tokens begin a run; no segment goes from one run into the next. (N,)
        sample: Number of the sample that each token belongs to; rising. (N,)
    """
    is_open = gain > _BREAK / 2
    chain = np.cumsum(begins | ~is_open)
    n_positive = np.bincount(chain[gain > 0], minlength=int(chain[-1]) + 1 if len(chain) else 0)
    there = np.flatnonzero(is_open & (n_positive[chain] > 0))
    found: list[tuple[float, int, int]] = []
    for at in np.split(there, np.flatnonzero(np.diff(chain[there])) + 1):
        found += [(nats, int(at[a]), int(at[b]) + 1) for nats, a, b in _maximal(gain[at].tolist())]
    nats, start, stop = zip(*found, strict=True) if found else ((), (), ())
    first = np.array(start, np.int64)
    return Segments(sample[first], np.array(nats, float), first, np.array(stop, np.int64))


def _maximal(scores: list[float]) -> Iterator[tuple[float, int, int]]:
    """The sum, the first and the last place of each maximal segment, in their order."""
    left, right = list[float](), list[float]()  # of each: the sum before it, and with it
    first, last, lower = list[int](), list[int](), list[int]()
    total = 0.0
    for i, score in enumerate(scores):
        before, total = total, total + score
        if score <= 0:
            continue
        start, k = i, len(left) - 1
        while True:
            while k >= 0 and left[k] >= before:
                k = lower[k]  # the last one before it that begins at a smaller sum
            if k < 0 or right[k] >= total:
                break
            before, start, k_next = left[k], first[k], lower[k]
            del left[k:], right[k:], first[k:], last[k:], lower[k:]
            k = k_next
        left.append(before)
        right.append(total)
        first.append(start)
        last.append(i)
        lower.append(k)
    for a, b, start, stop in zip(left, right, first, last, strict=True):
        yield b - a, start, stop
