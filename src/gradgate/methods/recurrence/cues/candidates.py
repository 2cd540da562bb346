"""What prompts may have in common: tokens, strings of them, forms of the raw text, and numbers."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from gradgate.common.arrays import Floats, Ints, distinct
from gradgate.methods.evidence import FORM
from gradgate.methods.recurrence.cues.forms import forms, numbers
from gradgate.methods.recurrence.cues.incidence import Incidence, joined
from gradgate.methods.recurrence.cues.lazy import Chained, Lazy
from gradgate.methods.recurrence.cues.triggers import Trigger
from gradgate.methods.recurrence.strings.inserted import Words
from gradgate.methods.recurrence.strings.sought import Gram
from gradgate.methods.recurrence.strings.stream import Stream
from gradgate.methods.tokens import TokenTable

MIN_SUPPORT = 5  # samples with a cue
MAX_FREQUENCY = 0.98  # of the samples: a cue of almost all tells none of them apart


@dataclass(frozen=True, eq=False)
class Cues:
    """Features of the prompts.

    Attributes:
        table: Which sample has which.
        nats: How surprising each is: the most surprising token of one or two, a longer string as a
            whole; 0 for a number, and infinite for a form of the text, which is no content.
            (n_features,)
        recalled: How much likelier the other prompts make the last token of each than the model
            does, see `Words`: the median; minus infinity for longer ones. (n_features,)
        features: What each is, to be sought in further prompts: a gram, or the name of a form or
            the digits of a number.
    """

    table: Incidence
    nats: Floats
    recalled: Floats
    features: Sequence[Gram | str] = ()


def read_cues(
    stream: Stream,
    words: Words,
    strings: Sequence[Trigger],
    table: TokenTable,
    prompts: Sequence[str],
) -> Cues:
    """Find the cues of n prompts.

    Args:
        stream: Their tokens.
        words: How surprising these are.
        strings: Recurring strings of them.
        table: Knows the texts of tokens.
        prompts: Their raw texts. (n,)
    """
    single = np.flatnonzero(words.number >= 0)
    follows = np.flatnonzero((words.number[1:] >= 0) & (words.number[:-1] >= 0)) + 1
    follows = follows[~stream.begins[follows]]
    size = len(words.ids)
    pairs = words.number[follows - 1] * size + words.number[follows]
    ones, of_one = _incidence(words.number[single], stream.sample[single], stream.n_samples)
    twos, of_two = _incidence(pairs, stream.sample[follows], stream.n_samples)
    alone = np.maximum(words.nats[of_two // size], words.nats[of_two % size])
    nats = np.concatenate([words.nats[of_one], alone])
    of_ones = _medians(words.number[single], words.recalled[single], of_one)
    of_twos = _medians(pairs, words.recalled[follows], of_two)
    ids, n = words.ids, stream.n_samples
    shapes, of_shapes = _of_texts(forms, prompts)
    counts, of_counts = _of_texts(numbers, prompts)
    parts: list[tuple[sp.csr_matrix, Sequence[str]]] = [
        (ones, Lazy(of_one, lambda k: table.text([ids[k]]))),
        (twos, Lazy(of_two, lambda k: table.text([ids[k // size], ids[k % size]]))),
        (_strings(strings, n), [table.text(string.ids) for string in strings]),
        (shapes, [f"{FORM}{form}" for form in of_shapes]),
        (counts, of_counts),
    ]
    features: list[Sequence[Gram | str]] = [
        Lazy(of_one, lambda k: (int(ids[k]),)),
        Lazy(of_two, lambda k: (int(ids[k // size]), int(ids[k % size]))),
        [string.seed for string in strings],
        of_shapes,
        of_counts,
    ]
    of_longer = np.array([string.nats for string in strings])
    of_texts = np.repeat([np.inf, 0.0], [len(of_shapes), len(of_counts)])
    nats = np.concatenate([nats, of_longer, of_texts])
    unknown = np.full(len(strings) + len(of_texts), -np.inf)
    recalled = np.concatenate([of_ones, of_twos, unknown])
    return Cues(joined(parts), nats, recalled, Chained(features))


def _incidence(keys: Ints, sample: Ints, n_samples: int) -> tuple[sp.csr_matrix, Ints]:
    """The table of samples and keys that neither few nor almost all have, and these keys."""
    different, number = np.unique(keys, return_inverse=True)
    pairs = distinct(number * n_samples + sample)
    column, row = np.divmod(pairs, max(1, n_samples))
    counts = np.bincount(column, minlength=len(different))
    kept = (counts >= MIN_SUPPORT) & (counts <= MAX_FREQUENCY * n_samples)
    new = np.cumsum(kept) - 1
    there = kept[column]
    matrix = sp.csr_matrix(
        (np.ones(int(there.sum()), np.float32), (row[there], new[column[there]])),
        shape=(n_samples, int(kept.sum())),
    )
    return matrix, different[kept]


def _medians(keys: Ints, values: Floats, asked: Ints) -> Floats:
    """The median of the values of some keys, the lower one of two."""
    order = np.lexsort((values, keys))
    first = np.searchsorted(keys[order], asked)
    last = np.searchsorted(keys[order], asked, side="right") - 1
    return np.asarray(values[order[(first + last) // 2]])


def _strings(strings: Sequence[Trigger], n_samples: int) -> sp.csr_matrix:
    rows = np.concatenate([np.empty(0, np.int64), *(string.carriers for string in strings)])
    columns = np.repeat(np.arange(len(strings)), [len(string.carriers) for string in strings])
    shape = (n_samples, len(strings))
    return sp.csr_matrix((np.ones(len(rows), np.float32), (rows, columns)), shape=shape)


def _of_texts(
    read: Callable[[str], set[str]], prompts: Sequence[str]
) -> tuple[sp.csr_matrix, list[str]]:
    """What is read of raw texts."""
    number: dict[str, int] = {}
    found = [[number.setdefault(n, len(number)) for n in read(prompt)] for prompt in prompts]
    names = sorted(number)
    place = {number[name]: i for i, name in enumerate(names)}
    keys = np.array([place[k] for some in found for k in some], np.int64)
    sample = np.repeat(np.arange(len(found)), [len(some) for some in found])
    matrix, kept = _incidence(keys, sample, len(found))
    return matrix, [names[k] for k in kept]
