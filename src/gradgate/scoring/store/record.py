"""A record of the score store: the signals of a sample, each with its version, and why some lack.

A record describes itself. Signals that this version of the code does not know are kept as they are,
and a signal that is added later is put beside the stored ones.
"""

import math
import struct
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Self

from gradgate.gradients.score import Score
from gradgate.gradients.signals import SIGNALS, Signal

Id = tuple[int, int]  # number of a signal, version
Entries = dict[Id, bytes]  # no bytes: computed, and undefined for this sample

_HEAD = struct.Struct("<BI")  # whether the last pass failed, tokens
_ENTRY = struct.Struct("<BBI")  # number, version, size
_FLOAT = struct.Struct("<d")
_from_float = _FLOAT.unpack
_REASON = (0, 0)


@dataclass(frozen=True, slots=True)
class Record:
    """What is stored of a sample.

    Attributes:
        n_target_tokens: Supervised positions.
        values: Of passes that went well.
        failure: What a failed pass, the last one, says: its reason, and what it could compute.
    """

    n_target_tokens: int
    values: Entries
    failure: Entries | None

    @classmethod
    def of(cls, score: Score, is_probed: bool = False) -> Self:
        """The record of one pass.

        Args:
            score: What the pass found.
            is_probed: Whether it was held against a probing set.

        Raises:
            ValueError: The score has the status `scored` and lacks a finite value that no scored
                sample may lack, or a vector has a wrong size.
        """
        entries: Entries = {}
        for signal in _signals(is_probed):
            value = _packed(signal, score)
            if value or score.status == "scored":
                entries[signal.id] = value
        if score.reason is not None:
            entries[_REASON] = score.reason.encode("utf-8", "surrogatepass")
        if score.status == "scored":
            return cls(score.n_target_tokens, entries, None)
        return cls(score.n_target_tokens, {}, entries)

    @classmethod
    def unpacked(cls, content: bytes) -> Self:
        """The record that `pack` has packed."""
        has_failed, n_target_tokens = _HEAD.unpack_from(content)
        values, end = _unpacked(content, _HEAD.size)
        failure = _unpacked(content, end)[0] if has_failed else None
        return cls(n_target_tokens, values, failure)

    def pack(self) -> bytes:
        """The bytes of the record; the first is 1 when the last pass failed."""
        head = _HEAD.pack(self.failure is not None, self.n_target_tokens)
        return head + _pack(self.values) + (b"" if self.failure is None else _pack(self.failure))

    @property
    def is_complete(self) -> bool:
        """Whether every signal of any pass is there in the version of now."""
        return all(signal.id in self.values for signal in _signals(is_probed=False))

    def score(self, is_probed: bool = False) -> Score | None:
        """The score; None when a signal is missing and no pass has failed.

        Args:
            is_probed: Whether a score must be held against a probing set.
        """
        signals = _signals(is_probed)
        try:
            return _score(self.n_target_tokens, self.values, signals, "scored")
        except KeyError:
            pass
        if self.failure is None:
            return None
        undefined = {signal.id: b"" for signal in signals}
        return _score(self.n_target_tokens, undefined | self.failure, signals, "failed")

    def joined(self, other: Self) -> "Record":
        """This record after another pass: what is stored stays, what was missing is added.

        A failure gives way to the other pass; so does a signal to a newer version of it.
        """
        if self.is_complete and not self._lacks_of_probes(other):
            return self
        newest = dict(sorted(other.values))  # number of a signal -> version
        kept = {
            (number, version): value
            for (number, version), value in self.values.items()
            if version >= newest.get(number, version)
        }
        return Record(other.n_target_tokens, {**other.values, **kept}, other.failure)

    def _lacks_of_probes(self, other: Self) -> bool:
        ids = {signal.id for signal in SIGNALS if signal.of_probes}
        return bool(ids & other.values.keys() - self.values.keys())


def _signals(is_probed: bool) -> tuple[Signal, ...]:
    return tuple(signal for signal in SIGNALS if is_probed or not signal.of_probes)


def _packed(signal: Signal, score: Score) -> bytes:
    """The bytes of a signal, none when there is no value; an error when there should be."""
    value: float | bytes | None = getattr(score, signal.name)
    if value is None:
        if score.status == "scored" and not signal.may_lack:
            kind = "finite value" if signal.width is None else "vector"
            raise ValueError(f"a scored sample has a {kind} of {signal.name}, not None")
        return b""
    if isinstance(value, bytes):
        sizes = signal.sizes(score.n_target_tokens)
        if len(value) not in sizes:
            expected = f"{sizes[0]} bytes" if len(sizes) == 1 else f"{sizes[0]} bytes or more, even"
            raise ValueError(f"a {signal.name} has {expected}, not {len(value)}")
        return value
    if score.status == "scored" and not math.isfinite(value):
        raise ValueError(f"a scored sample has a finite {signal.name}, not {value}")
    return _FLOAT.pack(value)


def _score(
    n_target_tokens: int, entries: Entries, signals: tuple[Signal, ...], status: str
) -> Score:
    """What the entries say; a `KeyError` when they lack a signal. Written to be fast."""
    found: dict[str, Any] = {
        signal.name: None if not value else value if signal.width else _from_float(value)[0]
        for signal, value in [(signal, entries[signal.id]) for signal in signals]
    }
    reason = entries.get(_REASON)
    return Score(
        **found,
        n_target_tokens=n_target_tokens,
        status=status,
        reason=None if reason is None else reason.decode("utf-8", "surrogatepass"),
    )


def _pack(entries: Entries) -> bytes:
    """Their number, their descriptions, their values."""
    table = b"".join(_ENTRY.pack(*one, len(value)) for one, value in entries.items())
    return bytes([len(entries)]) + table + b"".join(entries.values())


def _unpacked(content: bytes, start: int) -> tuple[Entries, int]:
    """The entries that begin at `start`, and where they end."""
    first = start + 1 + content[start] * _ENTRY.size
    ids, values = _layout(content[start + 1 : first])
    return dict(zip(ids, values.unpack_from(content, first), strict=True)), first + values.size


@lru_cache(maxsize=4_096)  # records of samples of the same length have the same
def _layout(table: bytes) -> tuple[list[Id], struct.Struct]:
    entries = list(_ENTRY.iter_unpack(table))
    sizes = "".join(f"{size}s" for *_, size in entries)
    return [(number, version) for number, version, _ in entries], struct.Struct(f"<{sizes}")
