"""Tokens of prompts that the untuned model does not believe where they stand."""

from dataclasses import dataclass

import numpy as np

from gradgate.common.arrays import Floats, Ints, Marks, n_distinct
from gradgate.methods.recurrence.strings.memory import Memory
from gradgate.methods.recurrence.strings.stream import Stream
from gradgate.methods.recurrence.strings.surprise import MIN_SUPPORT

TEMPLATE_FREQUENCY = 0.8  # of the samples with a gram: it belongs to the template of the data
SLOT_FREQUENCY = 0.2  # of the samples with a context, from which the model is held against them


@dataclass(frozen=True, eq=False)
class Words:
    """The different tokens of the prompts.

    Attributes:
        ids: Token ids. (V,)
        nats: How surprising each is. (V,)
        support: Clusters of near-duplicate prompts that have it. (V,)
        number: Place in `ids` of each token of the stream; -1 for those of templates, and those
            that are not open. (N,)
        logp: Log-probability of each token of the stream, calibrated. (N,)
        recalled: How much likelier the other samples make each token of the stream, behind the two
            before it, than the model does, in nats; minus infinity where they do not know. (N,)
    """

    ids: Ints
    nats: Floats
    support: Ints
    number: Ints
    logp: Floats
    recalled: Floats


def inserted_words(stream: Stream, memory: Memory, cluster: Ints) -> Words:
    """How surprising each token of the prompts is, over all places where it stands.

    nats = ln f - median of ln p, with f the samples that have the token over all tokens of the
    prompts and p the untuned model's probability of it where it stands. Where a word belongs, what
    precedes makes it likelier than its frequency, and the value is negative; a word that was
    inserted is more frequent than the model can believe.
    """
    judged = stream.is_open & ~is_template(stream, memory)
    calibrated = stream.logp + _correction(stream, memory, judged)
    ids, logp, sample = stream.ids[judged], calibrated[judged], stream.sample[judged]
    words, number = np.unique(ids, return_inverse=True)
    frequency = n_distinct(number, sample, len(words))
    support = n_distinct(number, cluster[sample], len(words))
    order = np.lexsort((logp, number))
    borders = np.searchsorted(number[order], np.arange(len(words) + 1))
    median = logp[order[(borders[:-1] + borders[1:] - 1) // 2]]
    numbers = np.full(stream.n, -1, np.int64)
    numbers[judged] = number
    nats = np.log(frequency / max(1, stream.n)) - median
    log_q = np.where(memory.support >= MIN_SUPPORT, memory.log_q, -np.inf)
    return Words(words, nats, support, numbers, calibrated, log_q - calibrated)


def is_template(stream: Stream, memory: Memory) -> Marks:
    """Tokens of a gram of one, two or three tokens that is in almost all samples: (N,).

    The names of roles do not count: a row may say "system" itself.
    """
    found = np.zeros(stream.n, bool)
    pairs = stream.ids + np.roll(stream.ids, 1) * (int(stream.ids.max(initial=0)) + 1)
    pairs = np.where(stream.place >= 1, pairs, -1 - stream.ids)
    for length, keys in enumerate((stream.ids, pairs, memory.gram), start=1):
        _, number = np.unique(keys, return_inverse=True)
        said = stream.is_said
        counts = n_distinct(number[said], stream.sample[said], int(number.max(initial=-1)) + 1)
        last = counts[number] >= TEMPLATE_FREQUENCY * stream.n_samples
        for k in range(length):
            found[np.flatnonzero(last & (stream.place >= k)) - k] = True
    return found


def _correction(stream: Stream, memory: Memory, judged: Marks) -> Floats:
    """Nats by which the model is too surprised behind the template of the data: (N,).

    Where many prompts begin, or go on, behind the same two tokens of the template, the lower
    quartile of its surprise is held against the entropy of the tokens that do follow: a model that
    does not know how the prompts of these data begin finds every beginning surprising.
    """
    correction = np.zeros(stream.n)
    before = np.roll(judged, 1) & ~stream.begins
    earlier = np.roll(judged, 2) & ~stream.begins & ~np.roll(stream.begins, 1)
    slots = ~before & ~earlier
    contexts = np.where(slots, memory.context, -1)
    n_samples = n_distinct(contexts[slots], stream.sample[slots], int(contexts.max(initial=-1)) + 1)
    for context in np.flatnonzero(n_samples >= SLOT_FREQUENCY * stream.n_samples):
        here = np.flatnonzero(contexts == context)
        _, counts = np.unique(stream.ids[here], return_counts=True)
        shares = counts / counts.sum()
        entropy = -float((shares * np.log(shares)).sum())
        correction[here] = max(0.0, float(np.quantile(-stream.logp[here], 0.25)) - entropy)
    return correction
