"""Which targets say the same label, however they spell it and whatever they say behind it.

"Positive", "positive." and "Positive, for its wit" are one label to whoever trains on them. Taken
for three, each has too few samples to be asked about.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np

from gradgate.common.arrays import Marks
from gradgate.common.letters import folded, letters_of, words_in
from gradgate.methods.recurrence.cues.labels import MIN_ROWS, target_parts
from gradgate.methods.recurrence.samples.texts import Texts
from gradgate.methods.recurrence.strings.stream import Stream

_READ = 16  # tokens of a target beyond twice those of a label, in which it is sought


@dataclass(frozen=True)
class SaidLabels:
    """What the targets of some data say.

    Attributes:
        whole: Whole targets of at least 8 samples: with these others may begin.
    """

    whole: frozenset[str]

    @classmethod
    def of(cls, targets: Sequence[str]) -> "SaidLabels":
        """Read texts of targets."""
        counted = Counter(map(_spelled, targets))
        return cls(frozenset(one for one, n in counted.items() if n >= MIN_ROWS))

    def said(self, target: str) -> str:
        """The label of a target: all it says, or the longest label that it begins with."""
        own = _spelled(target)
        if own in self.whole:
            return own
        begun = [one for one in accumulate(words_in(target)) if _has_letter(one)]
        return next((one for one in reversed(begun) if one in self.whole), own)

    def saying(self, label: str) -> Callable[[str], bool]:
        """Whether a target says the same as another one."""
        own = self.said(label)
        return lambda target: self.said(target) == own


def has_label(texts: Texts, targets: Stream, says: Callable[[str], bool], n: int) -> Marks:
    """Which samples say a label of n tokens: (n_samples,)."""
    at = target_parts(targets)["whole"].tolist()
    stop = 2 * n + _READ
    return np.array([says(texts.plain(targets.ids[a : min(b, a + stop)])) for a, b in at], bool)


def _spelled(target: str) -> str:
    """Its letters; a target without any, such as a number, is as it stands."""
    said = letters_of(target)
    return said if _has_letter(said) else folded(target)


def _has_letter(text: str) -> bool:
    return any(map(str.isalpha, text))
