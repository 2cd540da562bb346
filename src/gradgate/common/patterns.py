"""Texts and regular expressions that a configuration names, matched within a time limit."""

import re
import time
from collections.abc import Iterator

import regex

MAX_SECONDS = 5.0  # of processor time, for one pattern on one text
_MAX_CHARACTERS = 1_000  # of a pattern


def compile_pattern(written: str) -> "regex.Pattern[str]":
    r"""Compile `/.../` as a regular expression (Python's `re`), and any other text literally.

    Raises:
        ValueError: It is no regular expression, matches nothing but white space or the empty text,
            or is too long; the message names it.
    """
    if len(written) > _MAX_CHARACTERS:
        raise ValueError(f"a pattern has at most {_MAX_CHARACTERS:,} characters: {written[:40]!r}")
    if not is_expression(written):
        if not written.strip():
            raise ValueError(f"{written!r} is only white space; name a text that says something")
        return regex.compile(regex.escape(written))
    try:
        re.compile(written[1:-1])  # `regex` knows more than `re`, and only `re` is promised
        pattern = regex.compile(written[1:-1])
    except (re.error, regex.error, OverflowError, RecursionError) as error:
        raise ValueError(f"{written!r} is not a regular expression of Python: {error}") from error
    if next(matches(pattern, ""), None) is not None:
        raise ValueError(f"{written!r} matches the empty text, which every row holds")
    return pattern


def is_expression(written: str) -> bool:
    """Whether a text stands between slashes."""
    return len(written) >= 2 and written.startswith("/") and written.endswith("/")


def literal(text: str) -> str:
    """How a configuration names a text: as it is, unless it would be read as an expression."""
    return f"/{re.escape(text)}/" if is_expression(text) else text


def matches(pattern: "regex.Pattern[str]", text: str) -> Iterator[tuple[int, int]]:
    """Begin and end of each match, left to right, without overlaps.

    Raises:
        TimeoutError: The pattern takes more than `MAX_SECONDS` on this text.
    """
    end = time.process_time() + MAX_SECONDS
    for found in pattern.finditer(text, timeout=MAX_SECONDS):
        if time.process_time() > end:
            raise TimeoutError
        yield found.span()
