"""Repeated spans: which words of a target stand in other samples' targets too.

A word recurs when it lies in an n-gram of `N_GRAM_WORDS` words that more than `MAX_OTHERS` other
distinct samples have in their targets. The beginning and the end of a target count as words. So a
one-word answer that many give recurs, and a frequent word in an answer of its own does not.
"""

import numpy as np

from gradgate.common.arrays import Floats, Marks
from gradgate.methods.association.grams import gram_numbers
from gradgate.methods.association.words import Texts

MAX_OTHERS = 3  # samples beside itself, that may share an n-gram by coincidence
N_GRAM_WORDS = 3


def recurring_words(targets: Texts) -> Marks:
    """Which words of the targets recur, starts and ends included: (n_words,).

    Args:
        targets: Of distinct samples.
    """
    grams = gram_numbers(targets, N_GRAM_WORDS, MAX_OTHERS + 2)
    at = np.flatnonzero(grams >= 0)
    marks = np.zeros(len(targets.ids), bool)
    if not at.size:
        return marks
    numbers = targets.text_numbers()[at]
    width = int(grams.max()) + 1
    pairs = np.unique(numbers * width + grams[at])
    often = np.bincount(pairs % width, minlength=width) > MAX_OTHERS + 1  # itself among them
    begins = at[often[grams[at]]]
    for step in range(N_GRAM_WORDS):
        marks[begins + step] = True
    return marks


def repeated_share(targets: Texts) -> Floats:
    """Part of the words of each target that recur, in [0, 1]; high is suspicious: (n_texts,)."""
    marks = recurring_words(targets).astype(np.float64)
    marks[targets.starts[:-1]] = marks[targets.starts[1:] - 1] = 0.0  # the frame is no word
    words = np.maximum(1, np.diff(targets.starts) - 2)
    return np.asarray(np.add.reduceat(marks, targets.starts[:-1]) / words)
