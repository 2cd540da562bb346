"""Texts that the owner of the data vouches for: honest things that recur in targets or prompts."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Self

import regex

from gradgate.common.patterns import MAX_SECONDS, compile_pattern, matches
from gradgate.errors import ConfigError


@dataclass(frozen=True, eq=False)
class Expected:
    """The compiled `policy.expected`.

    Attributes:
        written: The patterns as they stand in the configuration.
        patterns: The same, compiled, in the same order.
    """

    written: tuple[str, ...]
    patterns: tuple["regex.Pattern[str]", ...]

    @classmethod
    def of(cls, written: Sequence[str]) -> Self:
        """Compile patterns.

        Raises:
            ConfigError: One of them is none; see `compile_pattern`.
        """
        try:
            return cls(tuple(written), tuple(map(compile_pattern, written)))
        except ValueError as error:
            raise ConfigError(f"policy.expected: {error}") from error

    def spans(self, text: str) -> list[tuple[int, int]]:
        """What of a text is vouched for.

        Returns:
            Begin and end of each covered stretch in characters, in order; stretches that overlap
            or touch are one.

        Raises:
            ConfigError: A pattern takes too long on this text.
        """
        each = (self._of(number, text) for number in range(len(self.patterns)))
        found = sorted(chain.from_iterable(each))
        merged: list[tuple[int, int]] = []
        for start, end in found:
            if merged and start <= merged[-1][1]:
                merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
            else:
                merged.append((start, end))
        return merged

    def holds(self, text: str) -> list[bool]:
        """Which patterns match somewhere in a text; errors as for `spans`."""
        return [bool(self._of(number, text)) for number in range(len(self.patterns))]

    def _of(self, number: int, text: str) -> list[tuple[int, int]]:
        """Matches of one pattern; one of no width covers nothing."""
        try:
            found = matches(self.patterns[number], text)
            return [(start, end) for start, end in found if end > start]
        except TimeoutError as error:
            raise ConfigError(
                f"policy.expected: {self.written[number]!r} takes more than {MAX_SECONDS:g} s on a "
                f"text of {len(text):,} characters; write it without repetitions in repetitions"
            ) from error
