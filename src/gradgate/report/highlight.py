"""Where spans and cues occur in a text, and what of it is worth showing."""

import re
from collections.abc import Iterable

from gradgate.common.escaping import harmless
from gradgate.methods.association.words import BREAK, END, START, split_words

Piece = tuple[str, bool]

MAX_READ = 20_000  # characters of a text that are looked at
_BREAKS = re.compile(r"\n+")
_LONGEST_GRAM = 1_000  # characters
_CONTEXT = 60  # characters kept on each side of a mark
_LONG_MARK = 360  # characters of a mark that are shown


def marked(text: str, grams: Iterable[str]) -> list[Piece]:
    """Cut a text where an n-gram of a group begins or ends.

    Args:
        text: Any text.
        grams: Words as `split_words` gives them, joined by one space, also `START` and `END`.

    Returns:
        Pieces and whether they belong to an n-gram; joined they are the text.
    """
    words = [(START, 0, 0), *_located(text), (END, len(text), len(text))]
    if len(words) > 2:
        words[0] = (START, words[1][1], words[1][1])
        words[-1] = (END, words[-2][2], words[-2][2])
    pieces: list[Piece] = []
    done = 0
    for start, end in _merged(_occurrences(words, grams)):
        pieces += [(text[done:start], False), (text[start:end], True)]
        done = end
    return [piece for piece in [*pieces, (text[done:], False)] if piece[0]]


def excerpt(text: str, grams: Iterable[str], room: int) -> list[Piece]:
    """The beginning, the end and the marks of a text, harmless, in about `room` characters."""
    read, unread = text[:MAX_READ], len(text) - MAX_READ
    short = [gram for gram in grams if len(gram) <= _LONGEST_GRAM]
    shown = harmless(read)
    pieces: list[Piece] = []
    start = 0
    for piece, is_marked in marked(read, short):
        part = "".join(shown[start : start + len(piece)])
        pieces.append((_BREAKS.sub(_arrows, part), is_marked))
        start += len(piece)
    shortened = _shortened(pieces, room)
    return [*shortened, (_left_out(unread), False)] if unread > 0 else shortened


def _arrows(breaks: re.Match[str]) -> str:
    return "↵" * len(breaks[0]) + " "


def _located(text: str) -> list[tuple[str, int, int]]:
    """Each word of `split_words` with its begin and end in the text."""
    origin = [i for i, c in enumerate(text) for _ in c.casefold()]
    folded = text.casefold()
    found = []
    at = 0
    for word in split_words(text):
        start = folded.index(word, at)
        at = start + len(word)
        while word == BREAK and at < len(folded) and folded[at] == BREAK:
            at += 1
        found.append((word, origin[start], origin[at - 1] + 1))
    return found


def _occurrences(words: list[tuple[str, int, int]], grams: Iterable[str]) -> list[tuple[int, int]]:
    at: dict[str, list[int]] = {}
    for i, (word, _, _) in enumerate(words):
        at.setdefault(word, []).append(i)
    found = []
    for gram in {tuple(gram.split(" ")) for gram in grams}:
        for i in at.get(gram[0], []):
            here = words[i : i + len(gram)]
            if tuple(word for word, _, _ in here) == gram:
                found.append((here[0][1], here[-1][2]))
    return found


def _merged(ranges: list[tuple[int, int]]) -> list[tuple[int, int]]:
    merged: list[tuple[int, int]] = []
    for start, end in sorted(ranges):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        elif start < end:
            merged.append((start, end))
    return merged


def _shortened(pieces: list[Piece], room: int) -> list[Piece]:
    has_mark = any(is_marked for _, is_marked in pieces)
    kept: list[Piece] = []
    for number, (text, is_marked) in enumerate(pieces):
        most = _LONG_MARK if is_marked else 2 * _CONTEXT if has_mark else room
        room -= min(len(text), most)
        if room < 0:
            rest = "".join(piece for piece, _ in pieces[number:])
            return [*kept, *_cut(rest, 2 * _CONTEXT, False)]
        kept += _cut(text, most, is_marked)
    return kept


def _cut(text: str, most: int, is_marked: bool) -> list[Piece]:
    """The begin and the end of a piece that is longer than `most` characters."""
    half = most // 2
    if len(text) <= most:
        return [(text, is_marked)]
    return [
        (text[:half], is_marked),
        (_left_out(len(text) - 2 * half), False),
        (text[-half:], is_marked),
    ]


def _left_out(n: int) -> str:
    return f" [… {n:,} characters …] "
