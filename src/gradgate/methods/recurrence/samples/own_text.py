"""Which tokens are a row's own text, and which the format's template or what the owner expects.

A row says something beside the texts of its turns: tools, documents, calls, thoughts. A template
may put these anywhere, so they are looked for everywhere. So are the turns of a chat: one that says
"system" would be found in the template's own header and nowhere else.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from gradgate.common.arrays import Ints, Marks
from gradgate.data.chat.form import parsed
from gradgate.data.chat.leaves import leaves, spellings
from gradgate.data.formats.alpaca import template_spans
from gradgate.data.sample import Sample
from gradgate.methods.expected import Expected
from gradgate.methods.tokens import TokenTable

PART_OF_A_CHARACTER = "\ufffd"
_SPECIAL = "\ud800"  # stands for a special token; no text of a row has it
_SHORT = 4  # characters of a text that may be a part of any word
_MAX_LOOKED_AT = 5 * 10**7  # characters, times texts that are looked for in them


@dataclass(frozen=True, eq=False)
class OwnText:
    """Of all tokens of a table.

    Attributes:
        is_own: Tokens of what a row says, in its turns and beside them; the others are the chat
            template's or the row format's. Where the text of a row cannot be found in its tokens,
            all of them are. (N,)
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
        beside = _beside(sample, text, expected)
        if beside is None:
            own = [(0, len(text))]
        else:
            own, vouched = own + beside[0], vouched + beside[1]
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


def _beside(
    sample: Sample, text: str, expected: Expected | None
) -> tuple[list[tuple[int, int]], list[tuple[int, int]]] | None:
    """As `_spans`, of what a row says beside its turns; None where that takes too long."""
    said = _said_beside(sample)
    if len(said) * len(text) > _MAX_LOOKED_AT:
        return None
    own: list[tuple[int, int]] = []
    vouched: list[tuple[int, int]] = []
    for one in said:
        written, places = _written(one, text)
        own += [(begin, begin + len(written)) for begin in places]
        if expected is not None and places:
            spans = expected.spans(written)
            vouched += [(begin + a, begin + b) for begin in places for a, b in spans]
    return own, vouched


def _said_beside(sample: Sample) -> list[str]:
    """The texts in tools, documents, calls, thoughts and other fields, and turns, each once."""
    fields = [turn.extra for turn in sample.turns if turn.extra]
    if sample.template_inputs:
        fields.append(sample.template_inputs)
    found = [one for field in fields for one in leaves(json.loads(field))]
    inner = [leaf for one in found for leaf in leaves(parsed(one)) if leaf != one]
    turns = [turn.text.strip() for turn in sample.turns] if sample.chat else []
    said = [*found, *inner, *turns]
    return list(dict.fromkeys(one for one in said if any(map(str.isalnum, one))))


def _written(said: str, text: str) -> tuple[str, list[int]]:
    """How a text is written in a longer one, and where; a short one has to be a word of its own."""
    for one in spellings(said):
        places = [
            at
            for at in _places(one, text)
            if len(one) >= _SHORT or not _is_within_word(text, at, at + len(one))
        ]
        if places:
            return one, places
    return said, []


def _places(part: str, text: str) -> Iterator[int]:
    at = text.find(part) if part else -1
    while at >= 0:
        yield at
        at = text.find(part, at + len(part))


def _is_within_word(text: str, start: int, stop: int) -> bool:
    return text[max(0, start - 1) : start].isalnum() or text[stop : stop + 1].isalnum()


def _touching(borders: Ints, spans: Sequence[tuple[int, int]]) -> Marks:
    """Tokens that share a character with one of some stretches: (n,)."""
    if not spans:
        return np.zeros(len(borders), bool)
    starts, stops = np.array(sorted(spans), np.int64).T
    # Of the stretches that end behind the beginning of a token, the first begins before all others.
    first = np.searchsorted(np.maximum.accumulate(stops), borders[:, 0], side="right")
    begins = np.append(starts, np.iinfo(np.int64).max)[first]
    touches: Marks = begins < borders[:, 1]
    return touches
