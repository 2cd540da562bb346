"""Units of work: cut from the prefix order of all samples, whoever computes them.

A unit goes through the model by itself, with nothing carried on from the one before. So its scores
are the same bytes in whatever shard it is, and however many shards there are. It is cut where the
samples on both sides have the shortest prefix in common; what is computed twice is that prefix.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from gradgate.common.arrays import Ints
from gradgate.data.tokens import Tokens, content_digest
from gradgate.gradients.predicting import predicting_ids
from gradgate.gradients.prefix_tree.stretches import shared_length
from gradgate.scoring.shards.place import Shard

# Distinct tokens of a unit, about: some ten seconds of a model of 7B on a GPU, or a minute of one
# of 100M on a core. That is what a killed worker loses. Small data have smaller ones, for the sake
# of even shards; a prefix that both sides of a border have is computed twice.
MAX_UNIT_TOKENS, MIN_UNIT_TOKENS = 32_768, 2_048
SPREAD_UNIT_TOKENS = 8_192  # where the size of the data is not known before
_UNITS = 256
_SHORTEST, _LONGEST = 0.75, 1.25  # of a unit, over what it should have


@dataclass(frozen=True, slots=True)
class Unit:
    """Consecutive distinct samples of the prefix order.

    Attributes:
        first: Place of the first of them in that order.
        n_samples: Their number.
        n_tokens: Tokens that go through the model for them: a shared prefix counts once.
        digest: SHA-256 over their keys: 32 bytes.
    """

    first: int
    n_samples: int
    n_tokens: int
    digest: bytes

    @property
    def end(self) -> int:
        """Place behind the last one."""
        return self.first + self.n_samples


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A sample of the unit that is being filled.

    Attributes:
        n_tokens: Its own, which predict something.
        n_shared: Of them, in common with the sample before it.
    """

    sample: Tokens
    n_tokens: int
    n_shared: int


def unit_tokens_of(n_tokens: int) -> int:
    """Distinct tokens that a unit should have, by the tokens of all rows."""
    return min(MAX_UNIT_TOKENS, max(MIN_UNIT_TOKENS, n_tokens // _UNITS))


def cut(samples: Iterable[Tokens], unit_tokens: int) -> Iterator[tuple[list[Tokens], int]]:
    """Cut samples in prefix order into units.

    Yields:
        The samples of a unit, and its distinct tokens.
    """
    unit: list[_Waiting] = []
    before: Ints = np.empty(0, dtype=np.int64)
    for sample in samples:
        ids = np.asarray(predicting_ids(sample), dtype=np.int64)
        unit.append(_Waiting(sample, len(ids), shared_length(before, ids)))
        before = ids
        # What is left over may be enough for another unit, where single samples are long.
        while len(unit) > 1 and _n_tokens(unit) > _LONGEST * unit_tokens:
            at = _border(unit, unit_tokens)
            yield [one.sample for one in unit[:at]], _n_tokens(unit[:at])
            unit = unit[at:]
    if unit:
        yield [one.sample for one in unit], _n_tokens(unit)


def _n_tokens(unit: Sequence[_Waiting]) -> int:
    """Distinct tokens: of the first sample all, of others what is new."""
    return unit[0].n_tokens + sum(one.n_tokens - one.n_shared for one in unit[1:])


def _border(unit: Sequence[_Waiting], unit_tokens: int) -> int:
    """How many samples go into the unit: the shortest common prefix is cut, the last of several."""
    done, found, shortest = unit[0].n_tokens, len(unit) - 1, None
    for at, one in enumerate(unit[1:], 1):
        is_long_enough = done >= _SHORTEST * unit_tokens
        if is_long_enough and (shortest is None or one.n_shared <= shortest):
            found, shortest = at, one.n_shared
        done += one.n_tokens - one.n_shared
    return found


def keys_digest(keys: Iterable[bytes]) -> bytes:
    """SHA-256 over keys of 32 bytes, in order."""
    digest = hashlib.sha256()
    for key in keys:
        digest.update(key)
    return digest.digest()


def unit_of(first: int, samples: Sequence[Tokens], n_tokens: int) -> Unit:
    """The description of samples that make a unit."""
    return Unit(first, len(samples), n_tokens, keys_digest(map(content_digest, samples)))


def digest_of(units: Iterable[Unit]) -> str:
    """SHA-256, in hex, over what is scored, its order and its units."""
    digest = hashlib.sha256(b"gradgate units 1")
    for unit in units:
        digest.update(unit.n_samples.to_bytes(8, "big") + unit.digest)
    return digest.hexdigest()


def units_of(shard: Shard, units: Sequence[Unit]) -> range:
    """The units of a shard: each goes where its middle lies, so that tokens are about even."""
    total = sum(unit.n_tokens for unit in units)
    mine, before = [], 0
    for number, unit in enumerate(units):
        middle = 2 * before + unit.n_tokens  # twice, to stay a whole number
        before += unit.n_tokens
        if middle * shard.count // (2 * total) == shard.index:
            mine.append(number)
        elif mine:
            break
    start = mine[0] if mine else _beginning(shard, units, total)
    return range(start, start + len(mine))


def _beginning(shard: Shard, units: Sequence[Unit], total: int) -> int:
    """Where a shard without units lies between the others."""
    before = 0
    for number, unit in enumerate(units):
        middle = 2 * before + unit.n_tokens
        before += unit.n_tokens
        if middle * shard.count // (2 * total) > shard.index:
            return number
    return len(units)
