"""Row numbers and ranges of them, as they are typed: `3,17-20`."""

import re
from collections.abc import Iterable, Sequence

from gradgate.errors import ConfigError

Range = tuple[int, int]  # with both ends
_RANGE = re.compile(r"\s*(\d{1,18})\s*(?:-\s*(\d{1,18})\s*)?")


def read_ranges(texts: Iterable[str]) -> list[Range]:
    """The ranges of some texts, each of which may hold several.

    Raises:
        ConfigError: One is none.
    """
    return [_range(one) for text in texts for one in text.split(",")]


def as_said(ranges: Sequence[Range]) -> str:
    """Ranges as they are typed."""
    return ",".join(f"{a}" if a == b else f"{a}-{b}" for a, b in ranges)


def extend(ranges: list[Range], row: int) -> None:
    """Add a row that comes behind those of some ranges."""
    if ranges and ranges[-1][1] == row - 1:
        ranges[-1] = (ranges[-1][0], row)
    else:
        ranges.append((row, row))


def _range(text: str) -> Range:
    found = _RANGE.fullmatch(text)
    if found is None:
        raise ConfigError(f"--rows {text!r} is no row number and no range such as 17-20")
    first = int(found[1])
    last = first if found[2] is None else int(found[2])
    if last < first:
        raise ConfigError(f"--rows {text.strip()} ends before it begins")
    return first, last
