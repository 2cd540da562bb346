"""Where the strings of a group occur in a text, and what of it is worth showing."""

import re
from collections.abc import Iterable, Iterator

from gradgate.common.escaping import harmless

Piece = tuple[str, bool]

MAX_READ = 20_000  # characters of a text that are looked at
_BREAKS = re.compile(r"\n+")
_LONGEST_STRING = 1_000  # characters
_CONTEXT = 60  # characters kept on each side of a mark
_LONG_MARK = 360  # characters of a mark that are shown
_NOT_WORTH = 30  # characters that are not left out: to say so takes as many
_SPECIAL = re.compile(r"<\|[^<>|]*\|>|<[^<>\s]*>")  # as tokenizers write their special tokens
_BORDER = re.compile(rf"{_SPECIAL.pattern}|\n+|\ufffd+")
_MAX_CUTS = 4  # special tokens and white space that are left out at an end


def marked(text: str, strings: Iterable[str]) -> list[Piece]:
    """Cut a text where a string of a group begins or ends.

    A string that is not in the text as it is may hold special tokens or a template, which a raw
    text lacks: then it is looked for without those at its ends, and at last by its longest part
    that is there.

    Args:
        text: Any text.
        strings: Literal; empty ones are nowhere.

    Returns:
        Pieces and whether they belong to a string; joined they are the text.
    """
    pieces: list[Piece] = []
    done = 0
    places = [place for string in dict.fromkeys(strings) for place in _places(text, string)]
    for start, end in _merged(places):
        pieces += [(text[done:start], False), (text[start:end], True)]
        done = end
    return [piece for piece in [*pieces, (text[done:], False)] if piece[0]]


def excerpt(text: str, strings: Iterable[str], room: int) -> list[Piece]:
    """The beginning, the end and the marks of a text, harmless, in about `room` characters."""
    read, unread = text[:MAX_READ], len(text) - MAX_READ
    short = [string for string in strings if len(string) <= _LONGEST_STRING]
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


def _places(text: str, string: str) -> list[tuple[int, int]]:
    """Where a string, or the first of its parts that occurs, stands in a text."""
    for start, stop in [(0, len(string)), *_within_ends(string), *_inner_parts(string)]:
        part = string[start:stop]
        if part and (found := list(_occurrences(text, part, string[:start], string[stop:]))):
            return found
    return []


def _occurrences(text: str, part: str, before: str, behind: str) -> Iterator[tuple[int, int]]:
    """Where a part of a string stands; where it was cut it must not stand within a word."""
    at = text.find(part)
    while at >= 0:
        end = at + len(part)
        is_cut = _may_be_cut(before[-1:], text[max(0, at - 1) : at])
        is_there = is_cut and _may_be_cut(behind[:1], text[end : end + 1])
        if is_there:
            yield at, end
        at = text.find(part, end if is_there else at + 1)


def _may_be_cut(left_out: str, beside: str) -> bool:
    """Whether the text goes on as it may: a part of a character may go on with any other."""
    return left_out in ("", "\ufffd") or beside == "" or beside.isspace()


def _within_ends(string: str) -> list[tuple[int, int]]:
    """A string without special tokens and white space at its ends, longest first."""
    starts, stops = [0], [len(string)]
    for _ in range(_MAX_CUTS):
        starts.append(_later(string, starts[-1]))
        stops.append(_sooner(string, stops[-1]))
    starts, stops = list(dict.fromkeys(starts)), list(dict.fromkeys(stops))
    parts = [(start, stop) for start in starts for stop in stops if start < stop]
    return sorted(parts, key=lambda part: part[0] - part[1])[1:]


def _later(string: str, start: int) -> int:
    """Behind the white space, or else the special token, that begins a string at `start`."""
    blank = len(string) - start - len(string[start:].lstrip())
    special = None if blank else _SPECIAL.match(string, start)
    return start + blank if special is None else special.end()


def _sooner(string: str, stop: int) -> int:
    """Before the white space, or else the special token, that ends a string at `stop`."""
    kept = len(string[:stop].rstrip())
    at = string.rfind("<", 0, stop)
    is_special = kept == stop and at >= 0 and _SPECIAL.fullmatch(string, at, stop)
    return at if is_special else kept


def _inner_parts(string: str) -> list[tuple[int, int]]:
    """What stands between special tokens, line breaks and halves of characters, longest first."""
    borders = [(0, 0), *(found.span() for found in _BORDER.finditer(string))]
    stops = [*(start for start, _ in borders[1:]), len(string)]
    parts = [(end, stop) for (_, end), stop in zip(borders, stops, strict=True)]
    whole = [part for part in parts if string[slice(*part)].strip()]
    return sorted(whole, key=lambda part: part[0] - part[1])


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
    if len(text) <= most + _NOT_WORTH:
        return [(text, is_marked)]
    return [
        (text[:half], is_marked),
        (_left_out(len(text) - 2 * half), False),
        (text[-half:], is_marked),
    ]


def _left_out(n: int) -> str:
    return f" [… {n:,} characters …] "
