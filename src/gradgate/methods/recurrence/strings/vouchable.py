"""The least texts that the owner of the data would have to vouch for, to settle a group in doubt.

A segment that surprises has data in it: `"amount": 9.99, "plan": null}` in one row, another amount
in the next. What is the owner's is what does not change, here two keys of JSON.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import pairwise

import numpy as np

from gradgate.common.arrays import Ints, Marks
from gradgate.common.letters import letters_of
from gradgate.methods.evidence import FORM
from gradgate.methods.recurrence.strings.stream import Stream
from gradgate.methods.recurrence.strings.surprise import Segments

MAX_TEXTS = 12  # of a group: more are no list that a person reads
MIN_LETTERS = 3  # letters and digits of a text: signs alone are in everything
MIN_WORDS = 4  # of a whole answer: fewer may be a label, and a label that flips is poison
_MAX_CHARACTERS = 500  # of a text; a configuration takes no pattern of more than 1,000
_MIN_SHARE = 0.1  # of a group's samples, that have a text
_MIN_SAMPLES = 3
_MAX_COMPARED = 500  # different texts, the commonest
_SAME_WORD = 0.9  # of the samples with a part of a word, to show the whole word
_MOST = 0.5  # of what stands behind a token: less of it is data


@dataclass(frozen=True, eq=False)
class FixedTexts:
    """What does not change in surprising segments of targets.

    Attributes:
        targets: Of n samples.
        text: Of tokens, for people.
    """

    targets: Stream
    text: Callable[[Ints], str]

    @cached_property
    def _said(self) -> list[str]:
        """The targets."""
        borders = np.searchsorted(self.targets.sample, np.arange(self.targets.n_samples + 1))
        return [self.text(self.targets.ids[a:b]) for a, b in pairwise(borders.tolist())]

    def of(self, segments: Segments) -> list[tuple[str, Marks]]:
        """The texts of a group, each with the samples that have it: (n,).

        Those that most samples have come first. None holds another one, and none is mostly in
        targets of other samples, where it would cover too much.

        Args:
            segments: One of each sample of the group.
        """
        at = segments.at
        members = np.zeros(self.targets.n_samples, bool)
        members[segments.sample] = True
        least = max(_MIN_SAMPLES, _MIN_SHARE * len(at))
        goes_on = _goes_on(self.targets, at, least)
        counted: Counter[str] = Counter()
        whole = np.full(len(members), "", object)
        for i, (start, stop) in zip(segments.sample.tolist(), at.tolist(), strict=True):
            ids, ends = self.targets.ids[start:stop], np.flatnonzero(~goes_on[start + 1 : stop]) + 1
            counted.update({self.text(piece).strip() for piece in np.split(ids, ends)})
            whole[i] = self.text(ids)

        @cache
        def is_own(one: str) -> bool:
            has = np.array([one in target for target in self._said], bool)
            n_own = (has & members).sum()  # none where tokens part a character
            return bool(n_own > 0 and 2 * n_own >= has.sum())

        found = []
        for one in _least(counted, least, is_own):
            has = np.array([one in segment for segment in whole], bool)
            having = [self._said[i] for i in np.flatnonzero(has).tolist()]
            found.append((_in_whole_words(one, having), has))
        return found


def _in_whole_words(one: str, texts: Sequence[str]) -> str:
    """A text with the rest of its first and its last word, where most texts go on with the same."""
    found = Counter(_widened(one, text) for text in texts)
    best, n = max(found.items(), key=lambda item: item[1], default=(one, 0))
    return best if n >= _SAME_WORD * len(texts) and len(best) <= _MAX_CHARACTERS else one


def _widened(one: str, text: str) -> str:
    """The first place of a text in a longer one, up to what is no letter or digit."""
    start = text.find(one)
    if start < 0:
        return one
    stop = start + len(one)
    while start > 0 and text[start - 1].isalnum():
        start -= 1
    while stop < len(text) and text[stop].isalnum():
        stop += 1
    return text[start:stop]


def _goes_on(targets: Stream, at: Ints, least: float) -> Marks:
    """Tokens of segments that so many of them have behind the same one, and most of those: (N,)."""
    inside = np.concatenate([np.arange(start + 1, stop) for start, stop in at.tolist()])
    before, pair = targets.ids[inside - 1], np.stack([targets.ids[inside - 1], targets.ids[inside]])
    _, first, n_first = np.unique(before, return_inverse=True, return_counts=True)
    _, both, n_both = np.unique(pair, axis=1, return_inverse=True, return_counts=True)
    found = np.zeros(targets.n, bool)
    found[inside] = (n_both[both] >= _MOST * n_first[first]) & (n_both[both] >= least)
    return found


def of_label(label: str, is_whole: bool) -> list[str]:
    """A beginning or end of targets, or a whole one that says more than a label does."""
    if is_whole and len(label.split()) < MIN_WORDS:
        return []
    return of_strings([label])


def of_strings(strings: Sequence[str]) -> list[str]:
    """Strings of prompts, or cues; a form of the text is none."""
    kept = (one.strip() for one in strings if not one.startswith(FORM))
    return [one for one in dict.fromkeys(kept) if _is_text(one)][:MAX_TEXTS]


def says_something(text: str) -> bool:
    """Whether a text has letters or digits."""
    return bool(letters_of(text))


def _least(counted: Counter[str], n_needed: float, is_own: Callable[[str], bool]) -> list[str]:
    """Texts that all others are made of: the one that most have first, then what it leaves."""
    found: list[str] = []
    left = Counter(dict(counted.most_common(_MAX_COMPARED)))
    while len(found) < MAX_TEXTS:
        having = {
            one: sum(n for other, n in left.items() if one in other)
            for one in left
            if _is_text(one) and not _is_in_a_word(one)
        }
        enough = [one for one, n in having.items() if n >= n_needed]
        enough.sort(key=lambda one: (-having[one], len(one), one))
        best = next(filter(is_own, enough), None)
        if best is None:
            break
        found.append(best)
        rest: Counter[str] = Counter()
        for one, n in left.items():
            for part in one.split(best):
                rest[part.strip()] += n
        left = Counter(dict(rest.most_common(_MAX_COMPARED)))
    return found


def _is_in_a_word(text: str) -> bool:
    """Whether it is no more than a word or a part of one, which much else has as well."""
    return text.isalnum()


def _is_text(text: str) -> bool:
    return len(letters_of(text)) >= MIN_LETTERS and len(text) <= _MAX_CHARACTERS
