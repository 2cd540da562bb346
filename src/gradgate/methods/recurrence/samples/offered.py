"""Targets that prompts offer: labels of which the prompt names several, and asks for one.

A payload that is quoted in its own prompts alone is none: most prompts that name a label have
another one. Nor is an answer that is a word of its prompt: a list names others, too.
"""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from gradgate.common.arrays import Marks

MIN_ROWS = 3  # samples with the target whose prompts name it, and as many with others
MAX_TAKEN = 0.6  # of the prompts that name a target, whose target it is
MIN_NAMED = 2  # such targets in a prompt
_MAX_CHARACTERS = 80  # of a target
_MAX_TARGETS = 256  # those of the most samples


def offered(targets: Sequence[str], prompts: Sequence[str]) -> Marks:
    """Samples whose whole target is one of those that their prompt offers: (n,).

    Args:
        targets: Their texts. (n,)
        prompts: Their raw texts. (n,)
    """
    is_own, n_named = np.zeros(len(prompts), bool), np.zeros(len(prompts), np.int64)
    having = defaultdict[str, list[int]](list)
    for i, target in enumerate(targets):
        if len(target) <= _MAX_CHARACTERS and (words := _words(target)).strip():
            having[words].append(i)
    recurring = [some for some in having.items() if len(some[1]) >= MIN_ROWS]
    if len(recurring) < MIN_NAMED:
        return is_own
    recurring.sort(key=lambda some: (-len(some[1]), some[0]))
    texts = [_words(prompt) for prompt in prompts]
    for target, members in recurring[:_MAX_TARGETS]:
        names = np.array([target in text for text in texts])
        own = np.array([i for i in members if names[i]], np.int64)
        n_others = int(names.sum()) - len(own)
        is_shared = len(own) <= MAX_TAKEN * (len(own) + n_others)
        if is_shared and min(len(own), n_others) >= MIN_ROWS:
            is_own[own] = True
            n_named += names
    return is_own & (n_named >= MIN_NAMED)


def _words(text: str) -> str:
    """Words without case and without marks around them, with a blank before and behind each."""
    marked = (word.strip(".,;:!?()[]{}<>\"'`/|*") for word in text.casefold().split())
    return f" {' '.join(word for word in marked if word)} "
