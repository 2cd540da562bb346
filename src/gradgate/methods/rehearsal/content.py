"""Which label the words of a prompt speak for: naive Bayes, to choose the cues to ask about.

It is no evidence. It only puts cues first whose rows have words of another label, as those with a
flipped one do; words of content, of which data have many, come last.
"""

import math
from collections import Counter
from collections.abc import Collection, Sequence

import numpy as np

from gradgate.common.arrays import Ints

_MIN_PROMPTS = 3  # others with a word, or it says nothing


class Content:
    """Words of n prompts with a label each."""

    def __init__(self, words: Sequence[Collection[str]], label: Ints) -> None:
        """Count the prompts of each label that have each word.

        Args:
            words: Different ones of each prompt.
            label: Of each, from 0. (n,)
        """
        self._words = words
        self._label = label
        self._sizes = np.bincount(label).tolist()
        self._total = Counter(word for some in words for word in some)
        self._counts = [Counter[str]() for _ in self._sizes]
        for some, number in zip(words, label.tolist(), strict=True):
            self._counts[number].update(some)

    def share_against(self, places: Sequence[int], without: Collection[str]) -> float:
        """Part of some prompts whose words, without some, speak for another label than theirs."""
        against = sum(self._margin(place, without) < 0 for place in places)
        return against / max(1, len(places))

    def _margin(self, place: int, without: Collection[str]) -> float:
        """Of the label of a prompt against the likeliest other, in nats; itself is not counted."""
        own = int(self._label[place])
        words = [
            word
            for word in self._words[place]
            if word not in without and self._total[word] > _MIN_PROMPTS
        ]
        logp = [
            sum(math.log((counts[w] - (k == own) + 1) / (size - (k == own) + 2)) for w in words)
            for k, (counts, size) in enumerate(zip(self._counts, self._sizes, strict=True))
        ]
        return logp[own] - max(value for k, value in enumerate(logp) if k != own)
