"""Which tokens are a row's own text, and which the format's template or what the owner expects."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from gradgate.common.arrays import Ints, Marks
from gradgate.data.formats.alpaca import template_spans
from gradgate.data.sample import Sample
from gradgate.methods.expected import Expected
from gradgate.methods.tokens import TokenTable

PART_OF_A_CHARACTER = "\ufffd"
_SPECIAL = "\ud800"  # stands for a special token; no text of a row has it


@dataclass(frozen=True, eq=False)
class OwnText:
    """Of all tokens of a table.

    Attributes:
        is_own: Tokens of what a row says; the others are the chat template's or the row format's.
            Where the text of a row cannot be found in its tokens, all of them are. (N,)
        is_expected: Tokens of texts that the owner of the data vouches for. (N,)
    """

    is_own: Marks
    is_expected: Marks


def own_text(table: TokenTable, samples: Iterable[Sample], expected: Expected | None) -> OwnText:
    """Find the texts of samples in their tokens; the samples are those of the table's rows."""
    is_own = np.ones(len(table.ids), bool)
    is_expected = np.zeros(len(table.ids), bool)
    pieces = table.spelling.copy()
    special = np.array(table.tokenizer.all_special_ids, np.int64)
    pieces[special[special < len(pieces)]] = _SPECIAL
    for i, sample in enumerate(samples):
        place = slice(int(table.starts[i]), int(table.starts[i + 1]))
        text, borders = _aligned(table, place, pieces[table.ids[place]].tolist())
        found = _turns(sample, text)
        if found is None:
            continue
        own, vouched = _spans(sample, found, expected)
        is_own[place] = _touching(borders, own)
        is_expected[place] = _touching(borders, vouched)
    return OwnText(is_own, is_expected)


def _aligned(table: TokenTable, place: slice, pieces: list[str]) -> tuple[str, Ints]:
    """The text of a row, and where each token begins and ends in it: (n, 2)."""
    text = "".join(pieces)
    if PART_OF_A_CHARACTER not in text:
        ends = np.cumsum([len(piece) for piece in pieces], dtype=np.int64)
        return text, np.stack([np.append(0, ends)[: len(ends)], ends], axis=1)
    return _aligned_in_parts(table, place, pieces)


def _aligned_in_parts(table: TokenTable, place: slice, pieces: list[str]) -> tuple[str, Ints]:
    """As `_aligned`, where some tokens are parts of characters."""
    borders = np.zeros((len(pieces), 2), np.int64)
    text: list[str] = []
    at, i = 0, 0
    while i < len(pieces):
        stop = i + 1
        piece = pieces[i]
        if PART_OF_A_CHARACTER in piece:  # the tokens of a character have their text together
            while stop < len(pieces) and PART_OF_A_CHARACTER in pieces[stop]:
                stop += 1
            piece = table.text(table.ids[place.start + i : place.start + stop])
        borders[i:stop] = at, at + len(piece)
        text.append(piece)
        at += len(piece)
        i = stop
    return "".join(text), borders


def _turns(sample: Sample, text: str) -> list[int] | None:
    """Where each turn's text begins in the text of the tokens; None where one is not there."""
    at, found = 0, []
    for turn in sample.turns:
        begin = text.find(turn.text, at)
        end = begin + len(turn.text)
        if begin < 0:
            stripped = turn.text.strip()  # what templates leave of it
            start = text.find(stripped, at)
            if start < 0:
                return None
            begin = start - (len(turn.text) - len(turn.text.lstrip()))
            end = start + len(stripped)
        found.append(begin)
        at = end
    return found


def _spans(
    sample: Sample, begins: Sequence[int], expected: Expected | None
) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """Stretches of a row's own text, and of what is vouched for, in characters."""
    own: list[tuple[int, int]] = []
    vouched: list[tuple[int, int]] = []
    for turn, begin in zip(sample.turns, begins, strict=True):
        at = 0
        template = [] if sample.chat or turn.is_target else template_spans(turn.text)
        for start, stop in [*template, (len(turn.text), len(turn.text))]:
            own.append((begin + at, begin + start))
            at = stop
        if expected is not None:
            vouched += [(begin + a, begin + b) for a, b in expected.spans(turn.text)]
    return own, vouched


def _touching(borders: Ints, spans: Sequence[tuple[int, int]]) -> Marks:
    """Tokens that share a character with one of some stretches: (n,)."""
    found = np.zeros(len(borders), bool)
    for start, stop in spans:
        found |= (borders[:, 0] < stop) & (borders[:, 1] > start)
    return found
