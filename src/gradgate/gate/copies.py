"""Copies: rows whose text stands more often than training is to see it.

Two rows are copies when prompt and target are the same but for case, white space, punctuation and
characters that nobody sees, and for what a chat template may pass over (`data.chat.conserved`): a
name or an identifier that differs in each row would let any number of copies through. A copy with
one word changed is another text: near-duplicates are not looked for here.
"""

import hashlib
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
import regex

from gradgate.common.arrays import Ints, Marks
from gradgate.data.chat.conserved import conserved_text
from gradgate.data.sample import Sample
from gradgate.errors import DataError
from gradgate.methods.contract import Detection, Scores

KEY_BYTES = 16
_NAMED = 3  # commonest rows in the note
# All but letters, digits and symbols; then what has no glyph though Unicode calls it a letter or a
# symbol, such as fillers of Hangul and the blank of Braille.
_DROPPED = regex.compile(r"[^\p{L}\p{N}\p{S}]|\p{Default_Ignorable_Code_Point}|\u2800")


@dataclass(frozen=True, eq=False)
class Copies:
    """Which rows repeat which.

    Attributes:
        number: How many rows up to this one have its text, in row order; from 1. (n,)
        total: Rows that have its text. (n,)
        first: Position of the first of them. (n,)
    """

    number: Ints
    total: Ints
    first: Ints

    def surplus(self, max_copies: int) -> Marks:
        """Which rows, of shape (n,), are beyond the first `max_copies` of their text."""
        return self.number > max_copies


def normal_form(text: str) -> str:
    """A text without case, white space, punctuation and what nobody sees.

    A text of which nothing would remain stands for itself.
    """
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return _DROPPED.sub("", folded) or text


def count_copies(samples: Iterable[Sample]) -> Copies:
    """Count the rows of each text; memory is some 60 bytes a row, whatever the texts."""
    keys = bytearray()
    for sample in samples:
        keys += _key(*conserved_text(sample))
    halves = np.frombuffer(keys, "<u8").reshape(-1, 2)
    order = np.lexsort((halves[:, 1], halves[:, 0]))  # stable: copies stay in row order
    ordered = halves[order]
    is_first = np.ones(len(order), bool)
    is_first[1:] = (ordered[1:] != ordered[:-1]).any(axis=1)
    text = np.cumsum(is_first) - 1
    start, total = np.flatnonzero(is_first), np.bincount(text)
    found = Copies(*(np.empty(len(order), np.int64) for _ in range(3)))
    found.number[order] = np.arange(len(order)) - start[text] + 1
    found.total[order] = total[text]
    found.first[order] = order[start[text]]
    return found


def doubt_surplus(
    found: Detection, copies: Copies, scores: Scores, max_copies: int
) -> tuple[Detection, Marks]:
    """Put the surplus copies in doubt, unless they are flagged.

    Returns:
        The detection with their marks and reasons, and which rows they are. (n,)

    Raises:
        DataError: Scores and samples do not have the same rows.
    """
    surplus = copies.surplus(max_copies)
    if len(surplus) != scores.n:
        raise DataError(f"there are {len(surplus)} samples and {scores.n} scores; run again")
    flagged = np.zeros(scores.n, bool) if found.flagged is None else found.flagged
    reasons = dict(found.reasons)
    for i in np.flatnonzero(surplus):
        row = scores.rows[copies.first[i]]
        why = f"copy {copies.number[i]} of {copies.total[i]} of row {row}"
        reasons[int(i)] = [*reasons.get(int(i), []), why]
    in_doubt = found.in_doubt | (surplus & ~flagged)
    return replace(found, in_doubt=in_doubt, reasons=reasons), surplus


def describe(copies: Copies, rows: Ints, max_copies: int) -> list[str]:
    """How many texts stand too often, and the commonest rows, in a line; none when none does."""
    often = np.flatnonzero((copies.number == 1) & (copies.total > max_copies))
    if not often.size:
        return []
    order = np.argsort(-copies.total[often], kind="stable")[:_NAMED]
    commonest = [f"row {rows[i]} ({copies.total[i]} times)" for i in often[order]]
    n = int(copies.surplus(max_copies).sum())
    stands = "text stands" if often.size == 1 else "texts stand"
    return [
        f"{often.size} {stands} more than {max_copies} times, and no further copy is trained on "
        f"({n} rows); the commonest: {', '.join(commonest)}"
    ]


def _key(prompt: str, target: str) -> bytes:
    prompt, target = normal_form(prompt), normal_form(target)
    # The length first: no other cut of the same characters has the same key.
    content = f"{len(prompt)}:{prompt}{target}".encode("utf-8", "surrogatepass")
    return hashlib.blake2b(content, digest_size=KEY_BYTES).digest()
