"""Words of targets that are copied from their prompts: names, streets, goods."""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from gradgate.common.arrays import Ints, Marks
from gradgate.methods.tokens import TokenTable

MAX_SAYING = 0.25  # of the prompts, that say a word: one that more say is copied from none


class PromptWords:
    """Knows which words few prompts say, whatever their case and tokens."""

    def __init__(self, table: TokenTable, prompts: Sequence[Ints]) -> None:
        """Count the words of some prompts.

        Args:
            table: Knows what tokens spell.
            prompts: The tokens of each.
        """
        self._table = table
        counts = Counter(
            word for ids in prompts for word in set(self._words(ids, np.zeros(len(ids), bool)))
        )
        self._common = {word for word, n in counts.items() if n > MAX_SAYING * len(prompts)}

    def copied(self, ids: Ints, is_target: Marks) -> Marks:
        """Which tokens of a row's targets are words that its prompt says before, and few do: (T,).

        Args:
            ids: The row's tokens. (T,)
            is_target: Tokens of its targets. (T,)
        """
        found = np.zeros(len(ids), bool)
        said = set[str]()
        for i, word in enumerate(self._words(ids, is_target)):
            if is_target[i]:
                found[i] = word in said
            elif word and word not in self._common:
                said.add(word)
        return found

    def _words(self, ids: Ints, is_target: Marks) -> list[str]:
        """The word that each token is a part of; nothing for blanks and marks."""
        pieces = self._table.spelling[ids].tolist()
        words, first = [""] * len(pieces), 0
        for i in range(1, len(pieces) + 1):
            goes_on = i < len(pieces) and is_target[i] == is_target[i - 1]
            if goes_on and (pieces[i - 1][-1:] + pieces[i][:1]).isalnum():
                continue
            word = "".join(pieces[first:i]).strip().casefold()
            words[first:i] = [word if word.isalnum() else ""] * (i - first)
            first = i
        return words
