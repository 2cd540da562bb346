"""Grams of up to three tokens as one number each, the same in all parts of the data."""

import numpy as np

from gradgate.common.arrays import Ints
from gradgate.methods.recurrence.strings.stream import Stream

_BITS = 21  # of a token; no vocabulary has two million
_START, _BEFORE = 1, 0  # stand before a run


def packed(ids: Ints) -> Ints:
    """The numbers of grams of up to three tokens: (n, length) to (n,)."""
    found = np.zeros(len(ids), np.int64)
    for k in range(ids.shape[1]):
        found = (found << _BITS) | (ids[:, k] + 2)
    return found


def singles(stream: Stream) -> Ints:
    """Each token: (N,)."""
    return stream.ids + 2


def doubles(stream: Stream) -> Ints:
    """Each token with the one before it in its run: (N,)."""
    ids = stream.ids + 2
    before = np.where(stream.place >= 1, np.roll(ids, 1), _START)
    return (before << _BITS) | ids


def contexts(stream: Stream) -> Ints:
    """The two tokens before each in its run: (N,)."""
    ids, place = stream.ids + 2, stream.place
    before = np.where(place >= 1, np.roll(ids, 1), _START)
    earlier = np.where(place >= 2, np.roll(ids, 2), np.where(place == 1, _START, _BEFORE))
    return (earlier << _BITS) | before


def triples(stream: Stream) -> Ints:
    """Each token with the two before it in its run: (N,)."""
    return (contexts(stream) << _BITS) | (stream.ids + 2)


def found_at(keys: Ints, known: Ints) -> Ints:
    """Where keys stand among known ones, which rise; -1 for those that are not there: (n,)."""
    if not len(known):
        return np.full(len(keys), -1, np.int64)
    at = np.minimum(np.searchsorted(known, keys), len(known) - 1)
    return np.where(known[at] == keys, at, -1)
