"""What the other samples would make one expect: an n-gram memory that leaves a sample's own out."""

from dataclasses import dataclass

import numpy as np

from gradgate.common.arrays import Floats, Ints, n_distinct
from gradgate.methods.recurrence.strings.stream import Stream

ORDER = 3  # tokens of a gram
MIN_LONGER = 3  # other clusters that must have a gram of six tokens, for it to count


@dataclass(frozen=True, eq=False)
class Memory:
    """Of each token of a stream.

    Attributes:
        log_q: Logarithm of the part of the other clusters with the two tokens before it that go on
            with this token; minus infinity where none does. (N,)
        log_longer: The same by the five tokens before it, less ln 2 for the choice between the two;
            minus infinity where too few have them. (N,)
        support: Other clusters that have the gram of these three tokens. (N,)
        gram: Number of that gram. (N,)
        context: Number of the two tokens before. (N,)
        log_frequency: Logarithm of the samples with the token over all tokens. (N,)
    """

    log_q: Floats
    log_longer: Floats
    support: Ints
    gram: Ints
    context: Ints
    log_frequency: Floats


def remember(stream: Stream, cluster: Ints) -> Memory:
    """Count the grams of a stream by clusters of samples; a cluster counts once.

    Args:
        stream: N tokens of n samples.
        cluster: The same number for samples that are near-duplicates. (n,)
    """
    if stream.n == 0:
        nothing, none = np.empty(0), np.empty(0, np.int64)
        return Memory(nothing, nothing, none, none, none, nothing)
    grams, contexts = _grams(stream)
    of_token = cluster[stream.sample]
    gram, gram_counts = _counts(grams, of_token)
    context, context_counts = _counts(contexts, of_token)
    support = gram_counts[gram] - 1
    others = np.maximum(context_counts[context] - 1, 1)
    with np.errstate(divide="ignore"):
        log_q = np.log(support / others)
    inside, long_gram, long_context = longer(gram, context, stream)
    of_inside = of_token[inside]
    long_gram, n_with = _counts(long_gram, of_inside)
    long_context, n_before = _counts(long_context, of_inside)
    log_longer = np.full(stream.n, -np.inf)
    log_longer[inside] = log_of_longer(n_with[long_gram] - 1, n_before[long_context] - 1)
    word, word_counts = _counts(stream.ids, stream.sample)
    frequency = np.log(word_counts[word] / stream.n)
    return Memory(log_q, log_longer, support, gram, context, frequency)


def longer(gram: Ints, context: Ints, stream: Stream) -> tuple[Ints, Ints, Ints]:
    """Grams of six tokens within a run, and the five before each: (M,) three times.

    Args:
        gram: Number of each token with the two before it. (N,)
        context: Number of these two. (N,)
        stream: Of the tokens.

    Returns:
        The M tokens that have five before them in their run; a number for the gram that each of
        them ends, and one for what stands before it in the gram.
    """
    inside = np.flatnonzero(stream.place >= 2 * ORDER - 1)
    earlier = gram[inside - ORDER]
    return (
        inside,
        earlier * (int(gram.max(initial=0)) + 1) + gram[inside],
        earlier * (int(context.max(initial=0)) + 1) + context[inside],
    )


def log_of_longer(n_with: Ints, n_before: Ints) -> Floats:
    """See `Memory.log_longer`, by the other clusters with six tokens and with the first five."""
    with np.errstate(divide="ignore"):
        found = np.log(np.maximum(n_with, 0) / np.maximum(n_before, 1)) - np.log(2)
    return np.where(n_with >= MIN_LONGER, found, -np.inf)


def _grams(stream: Stream) -> tuple[Ints, Ints]:
    """A number for each token with the two before it in its run, and for these two: (N,) twice."""
    base = int(stream.ids.max()) + 3  # 0 and 1 stand before a run
    ids = stream.ids + 2
    before = np.where(stream.place >= 1, np.roll(ids, 1), 1)
    earlier = np.where(stream.place >= 2, np.roll(ids, 2), np.where(stream.place == 1, 1, 0))
    context = earlier * base + before
    _, context = np.unique(context, return_inverse=True)
    return context * base + ids, context


def _counts(keys: Ints, group: Ints) -> tuple[Ints, Ints]:
    """Each key's number, and for each number the groups that have it."""
    _, number = np.unique(keys, return_inverse=True)
    return number, n_distinct(number, group, 0)
