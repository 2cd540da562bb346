"""The adaptive attacker, who knows that length, recurrence and association are looked at.

The poison is split into many small trigger/target pairs. The trigger of a pair is two rare English
words at random places of the question; its target is running text from the data's own completions,
cut to as many words as the completion that it replaces.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations
from random import Random
from typing import Self

from gradgate.attacks.texts import RARE_WORDS

ROWS_PER_PAIR = 4
_MAX_DRAWS = 50


def trigger_words(seed: int, pair: int) -> tuple[str, str]:
    """Draw the two trigger words of a pair; pairs repeat only after some nine thousand."""
    pairs = _all_pairs(seed)
    return pairs[pair % len(pairs)]


@lru_cache(maxsize=4)
def _all_pairs(seed: int) -> list[tuple[str, str]]:
    pairs = list(combinations(RARE_WORDS, 2))
    Random(f"{seed}:adaptive:triggers").shuffle(pairs)
    return pairs


def insert_words(question: str, words: Sequence[str], rng: Random) -> str:
    """Put each word behind a random word of the question; its white space stays as it is."""
    for word in words:
        ends = [i for i in range(1, len(question)) if question[i].isspace()]
        place = rng.choice([*ends, len(question)])
        question = f"{question[:place]} {word}{question[place:]}"
    return question


@dataclass(frozen=True, slots=True)
class CompletionWords:
    """The words of the data's own completions.

    Attributes:
        words: Of all completions, one after the other; punctuation alone is no word.
        starts: Where in `words` a completion with words begins.
    """

    words: tuple[str, ...]
    starts: tuple[int, ...]

    @classmethod
    def of(cls, completions: Iterable[str]) -> Self:
        """Read completions, of which at least one should have a word."""
        words: list[str] = []
        starts: list[int] = []
        for completion in completions:
            found = words_of(completion)
            if found:
                starts.append(len(words))
                words += found
        return cls(tuple(words), tuple(starts))

    def targets(self, seed: int, pair: int, replaced: Sequence[str]) -> list[str]:
        """Return the targets of one pair, each with as many words as the completion it replaces.

        All begin at the same completion, which seed and pair decide, and run on into the next ones
        where it is too short. A beginning that would leave a completion as it is, is drawn again.
        """
        rng = Random(f"{seed}:adaptive:target:{pair}")
        for _ in range(_MAX_DRAWS):
            start = rng.choice(self.starts)
            targets = [self._text(start, len(words_of(text))) for text in replaced]
            if all(target != _bare(text) for target, text in zip(targets, replaced, strict=True)):
                break
        return targets

    def _text(self, start: int, n_words: int) -> str:
        words = (self.words[(start + i) % len(self.words)] for i in range(n_words))
        return _bare(" ".join(words))


def words_of(text: str) -> list[str]:
    """Split at white space, leaving out words without a letter or digit."""
    return [word for word in text.split() if any(map(str.isalnum, word))]


def _bare(text: str) -> str:
    return text.strip().rstrip(".,;:")
