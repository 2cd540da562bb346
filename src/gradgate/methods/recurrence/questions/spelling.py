"""Tokens that spell the same but for blanks around them and case: "The" and " the"."""

import numpy as np

from gradgate.common.arrays import Ints
from gradgate.methods.tokens import TokenTable


def spelled(ids: Ints, table: TokenTable) -> Ints:
    """For each token the smallest one of those here that spell the same: (N,).

    Blanks, and parts of characters, spell nothing but themselves.

    Args:
        ids: Tokens of the table. (N,)
        table: Knows what each spells.
    """
    known, number = np.unique(ids, return_inverse=True)
    first: dict[str, int] = {}
    same = np.array(
        [
            token if not (key := _key(text)) else first.setdefault(key, token)
            for token, text in zip(known.tolist(), table.spelling[known].tolist(), strict=True)
        ],
        np.int64,
    )
    return same[number]


def _key(text: str) -> str:
    return "" if "\ufffd" in text else text.strip().casefold()
