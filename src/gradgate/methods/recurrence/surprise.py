"""How much better the memory of other samples knows a token than the untuned model: in nats."""

from dataclasses import dataclass

import numpy as np

from gradgate.common.arrays import Floats, Ints, Marks
from gradgate.methods.recurrence.memory import Memory
from gradgate.methods.recurrence.stream import Stream

MIN_SUPPORT = 3  # other clusters that must have a gram, for the memory to know it
MAX_GAIN = 8.0  # nats of one token: one rare word alone proves nothing
_BREAK = -1e6  # no segment goes over such a token


@dataclass(frozen=True, eq=False)
class Segments:
    """The most surprising segment of each of n samples.

    Attributes:
        nats: Its sum of gains; 0 where no token has a positive one. (n,)
        start: Its first token in the stream. (n,)
        stop: The token behind its last. (n,)
    """

    nats: Floats
    start: Ints
    stop: Ints


def gains(stream: Stream, memory: Memory, is_known: Marks) -> Floats:
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
    """
    expected = np.maximum(stream.logp, memory.log_frequency)
    log_q = np.where(memory.support > 0, memory.log_q, 0.0)
    gain = np.minimum(log_q - expected, MAX_GAIN) + 2 * np.minimum(0.0, log_q + np.log(2))
    gain = np.where(is_known, np.minimum(gain, 0.0), gain)
    remembered = (memory.support >= MIN_SUPPORT) & stream.is_open
    return np.where(remembered | (is_known & stream.is_open), gain, _BREAK)


def best_segments(gain: Floats, begins: Marks, sample: Ints, n_samples: int) -> Segments:
    """The segment with the largest sum in each sample; none goes from one run into the next.

    A maximum-subarray scan, linear in the number of tokens (Kadane; Bentley 1984).
    """
    best = [0.0] * n_samples
    first, last = [0] * n_samples, [0] * n_samples
    current, start = 0.0, 0
    for i, (value, begin, s) in enumerate(
        zip(gain.tolist(), begins.tolist(), sample.tolist(), strict=True)
    ):
        if begin or current <= 0.0:
            current, start = 0.0, i
        current += value
        if current > best[s]:
            best[s], first[s], last[s] = current, start, i + 1
    return Segments(np.array(best), np.array(first, np.int64), np.array(last, np.int64))
