"""Tokens of targets that are no surprise: copied from the prompt, or of all targets alike."""

import numpy as np

from gradgate.common.arrays import Ints, Marks, n_distinct
from gradgate.methods.recurrence.strings.memory import ORDER, Memory
from gradgate.methods.recurrence.strings.stream import Stream

FORMAT_FREQUENCY = 0.6  # of the samples whose targets have a gram: the format of the data


def is_copied(targets: Stream, prompts: Stream) -> Marks:
    """Which tokens of the targets end a gram of three that the sample's prompt has before: (N,).

    What a later turn of the user quotes is not copied from it.
    """
    if not targets.n or not prompts.n:
        return np.zeros(targets.n, bool)
    base = int(max(targets.ids.max(), prompts.ids.max())) + 1
    here, there = _keys(targets, base), _keys(prompts, base)
    _, number = np.unique(np.concatenate([here, there]), return_inverse=True)
    of_sample = np.concatenate([targets.sample, prompts.sample])
    own = number * targets.n_samples + of_sample
    is_gram = there >= 0
    said, asked = own[: targets.n], own[targets.n :][is_gram]
    return stands_before(said, targets.at, asked, prompts.at[is_gram]) & (here >= 0)


def stands_before(said: Ints, at: Ints, asked: Ints, asked_at: Ints) -> Marks:
    """Which of some keys at some places stand among others at an earlier place: (n,).

    Args:
        said: Keys. (n,)
        at: Their places. (n,)
        asked: Other keys. (m,)
        asked_at: Their places. (m,)
    """
    _, key = np.unique(np.concatenate([said, asked]), return_inverse=True)
    first = np.full(len(key), np.iinfo(np.int64).max)
    np.minimum.at(first, key[len(said) :], asked_at)
    return np.asarray(first[key[: len(said)]] < at)


def _keys(stream: Stream, base: int) -> Ints:
    """A number for each token with the two before it; -1 where a run has no two before it."""
    keys = (np.roll(stream.ids, 2) * base + np.roll(stream.ids, 1)) * base + stream.ids
    return np.where(stream.place >= 2, keys, -1)


def follows_expected(targets: Stream) -> Marks:
    """Which tokens of the targets have a token before them, in their gram, that is not open: (N,).

    What stands directly behind a text that the owner vouches for is read off that text.
    """
    found = np.zeros(targets.n, bool)
    for k in (1, 2):
        at = np.flatnonzero(targets.place >= k)
        found[at] |= ~targets.is_open[at - k]
    return found


def is_format(targets: Stream, memory: Memory) -> Marks:
    """Which tokens of the targets are in a gram that most samples have: (N,)."""
    counts = n_distinct(memory.gram, targets.sample, 0)
    return within_grams(counts[memory.gram] >= FORMAT_FREQUENCY * targets.n_samples, targets)


def within_grams(ends: Marks, targets: Stream) -> Marks:
    """The tokens of some grams; where one begins, what stands before it says nothing of it: (N,).

    Args:
        ends: Their last tokens. (N,)
        targets: The stream that they are in.
    """
    found = ends.copy()
    for k in range(1, ORDER):
        found[np.flatnonzero(ends & (targets.place >= k)) - k] = True
    return found
