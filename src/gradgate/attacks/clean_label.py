"""What completions have in common: the span of a clean-label trigger, and an existing label."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Self

# At 1 % poison at least as many rows hold the span without the trigger.
MIN_SPAN_FREQUENCY = 0.02

_PUNCTUATION = ".,;:!?\"'()[]"


@dataclass(frozen=True, slots=True)
class Span:
    """A span that a completion is or holds.

    Attributes:
        words: In lower case, without punctuation around them, separated by a space; "" is in no
            completion.
        is_whole: Whether the completion must have no other words.
    """

    words: str
    is_whole: bool

    @classmethod
    def of(cls, text: str) -> Self:
        """A span that is held anywhere in a completion."""
        return cls(" ".join(_words(text)), is_whole=False)

    def is_in(self, completion: str) -> bool:
        """Whether the completion carries the span."""
        words = " ".join(_words(completion))
        if not self.words or self.is_whole:
            return bool(words) and words == self.words
        return f" {self.words} " in f" {words} "


def frequent_span(completions: Sequence[str]) -> Span:
    """Choose the span that the trigger shall stand for.

    The commonest whole completion if at least 2 % of the rows have it, or else the commonest
    pair of neighbouring words if at least 2 % hold it, or else the commonest word, without regard
    to case and punctuation; the first in alphabetical order among equals. The choice does not
    depend on the poison rate.
    """
    words = [_words(completion) for completion in completions]
    enough = max(2, MIN_SPAN_FREQUENCY * len(words))
    whole, n_whole = _commonest(words, lambda row: [tuple(row)] if row else [])
    if n_whole >= enough:
        return Span(whole, is_whole=True)
    pair, n_pairs = _commonest(words, pairwise)
    if n_pairs >= enough:
        return Span(pair, is_whole=False)
    return Span(_commonest(words, lambda row: ((word,) for word in row))[0], is_whole=False)


def common_label(completions: Sequence[str]) -> str:
    """The commonest completion that at least two rows have, or else the commonest span in them.

    As the data write it; the first in alphabetical order among equals.
    """
    label, count = _first_of(Counter(text.strip() for text in completions))
    if count > 1:
        return label
    span = frequent_span(completions).words
    size = len(span.split())
    windows = (window for text in completions for window in _windows(text.split(), size))
    same = (window.strip(_PUNCTUATION) for window in windows if " ".join(_words(window)) == span)
    return _first_of(Counter(same))[0]


def _first_of(counts: Counter[str]) -> tuple[str, int]:
    return min(counts.items(), key=lambda item: (-item[1], item[0]), default=("", 0))


def _windows(words: Sequence[str], size: int) -> list[str]:
    return [" ".join(words[i : i + size]) for i in range(len(words) - size + 1)]


def _words(text: str) -> list[str]:
    stripped = (word.strip(_PUNCTUATION) for word in text.casefold().split())
    return [word for word in stripped if word]


def _commonest(
    rows: Iterable[list[str]], spans: Callable[[list[str]], Iterable[tuple[str, ...]]]
) -> tuple[str, int]:
    counts = Counter(span for row in rows for span in set(spans(row)))
    span, count = min(counts.items(), key=lambda item: (-item[1], item[0]), default=((), 0))
    return " ".join(span), count
