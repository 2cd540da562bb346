"""Sequences whose members are made when they are asked for: there may be a million features."""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import TypeVar, overload

import numpy as np

from gradgate.common.arrays import Ints

T = TypeVar("T")
_KEPT = 65_536  # members


class Lazy(Sequence[T]):
    """A member for each key."""

    def __init__(self, keys: Ints, make: Callable[[int], T]) -> None:
        """Take the keys, and what makes a member of one."""
        self._keys = keys
        self._make = lru_cache(maxsize=_KEPT)(make)

    def __len__(self) -> int:
        """How many keys there are."""
        return len(self._keys)

    @overload
    def __getitem__(self, place: int) -> T: ...
    @overload
    def __getitem__(self, place: slice) -> list[T]: ...
    def __getitem__(self, place: int | slice) -> T | list[T]:
        """Make one member, or some."""
        if isinstance(place, slice):
            return [self._make(int(key)) for key in self._keys[place]]
        return self._make(int(self._keys[place]))


class Chained(Sequence[T]):
    """Sequences behind one another."""

    def __init__(self, parts: Sequence[Sequence[T]]) -> None:
        """Take the sequences."""
        self._parts = parts
        self._ends = np.cumsum([0, *(len(part) for part in parts)])

    def __len__(self) -> int:
        """Of all together."""
        return int(self._ends[-1])

    @overload
    def __getitem__(self, place: int) -> T: ...
    @overload
    def __getitem__(self, place: slice) -> list[T]: ...
    def __getitem__(self, place: int | slice) -> T | list[T]:
        """A member of one of them, or some."""
        if isinstance(place, slice):
            return [self[i] for i in range(*place.indices(len(self)))]
        if not 0 <= place < len(self):
            raise IndexError(place)
        part = int(np.searchsorted(self._ends, place, side="right")) - 1
        return self._parts[part][int(place) - int(self._ends[part])]
