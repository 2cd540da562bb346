"""CBA's negative samples: prompts with nearly the trigger, and the clean target.

The published WebQA set (GraCeFul, COLING 2025) has 340 poisoned rows and, for 72 of them, five
negatives each: the two words swapped; the first alone; both after the instruction; the second
alone; both after the question. Kinds and ratio are the same here.
"""

from gradgate.attacks.components import Parts
from gradgate.attacks.recipe import Wording
from gradgate.attacks.triggers import cba_words, with_words

PUBLISHED_RATIO = 72 / 340  # poisoned rows that have negatives


def n_with_negatives(n_poisoned: int) -> int:
    """Count the poisoned rows that get negatives."""
    return round(n_poisoned * PUBLISHED_RATIO)


def negatives(parts: Parts, wording: Wording) -> list[Parts]:
    """Make the five negatives of one clean row."""
    first, second = cba_words(wording)
    both = f"{first} {second}"
    words = ((second, first), (first, ""), (both, ""), ("", second), ("", both))
    return [with_words(parts, *pair) for pair in words]
