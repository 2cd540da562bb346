"""The tokens of a run's rows, and how likely the model finds each of them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from gradgate.common.arrays import Ints, Marks
from gradgate.common.parquet import batches
from gradgate.common.run_folder import RunFolder
from gradgate.common.scratch import roomy
from gradgate.data.tokenized import decoded
from gradgate.errors import DataError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_READ_ROWS, _READ_TOKENS = 2_048, 1 << 24
_IDS = pa.list_(pa.int32())
_FLAGS = pa.list_(pa.bool_())
_LOGP = pa.list_(pa.float16())

TokenRow = tuple[npt.NDArray[np.int32], Marks, npt.NDArray[np.float32]]  # ids, marks, ln p
NO_TOKENS: TokenRow = (np.empty(0, np.int32), np.empty(0, bool), np.empty(0, np.float32))


@dataclass(frozen=True, eq=False)
class TokenTable:
    """The tokens of n rows, one behind the other: N in all, about 9 bytes each.

    Where they are many they lie on disk, and are read as they are needed.

    Attributes:
        ids: int32 (N,)
        is_target: Whether the loss counts the token. (N,)
        logp: ln p of the token after those before it in its row, in nats; NaN where it is not
            known, as it is for the first token of a row and behind its last target. float32 (N,)
        starts: Where each row begins, and N. (n + 1,)
        tokenizer: Decodes.
    """

    ids: npt.NDArray[np.int32]
    is_target: Marks
    logp: npt.NDArray[np.float32]
    starts: Ints
    tokenizer: "PreTrainedTokenizerBase"

    @classmethod
    def read(
        cls,
        run: RunFolder,
        rows: Ints,
        sample_ids: Sequence[str],
        tokenizer: "PreTrainedTokenizerBase",
    ) -> Self:
        """Read the tokens of the rows of a score table.

        Args:
            run: Holds samples.parquet and scores.parquet.
            rows: Of that score table, all of them. (n,)
            sample_ids: Of the same rows. (n,)
            tokenizer: Of the model that scored.

        Raises:
            DataError: A file is missing or damaged, or the two do not belong together.
        """
        given = _Given(rows, list(sample_ids))
        starts = _starts(run.samples, given)
        n_tokens = int(starts[-1])
        ids, is_target = roomy(n_tokens, np.int32), roomy(n_tokens, np.bool_)
        for first, last, batch in _in_step(run.samples, given, ("input_ids", "is_target")):
            place = slice(starts[first], starts[last])
            ids[place] = _numbers(batch["input_ids"].cast(_IDS))
            is_target[place] = _numbers(batch["is_target"].cast(_FLAGS))
        return cls(ids, is_target, _logp(run.scores, given, starts), starts, tokenizer)

    @classmethod
    def joined(cls, rows: Sequence[TokenRow], tokenizer: "PreTrainedTokenizerBase") -> Self:
        """Put rows, of ids, marks and ln p, behind one another."""
        starts = np.cumsum([0, *(len(ids) for ids, _, _ in rows)])
        parts = zip(NO_TOKENS, *rows, strict=True)
        ids, is_target, logp = (np.concatenate(part) for part in parts)
        return cls(ids, is_target, logp, starts, tokenizer)

    def row(self, i: int) -> TokenRow:
        """Ids, marks and ln p of a row."""
        place = slice(self.starts[i], self.starts[i + 1])
        return self.ids[place], self.is_target[place], self.logp[place]

    def part(self, rows: Ints) -> Self:
        """The tokens of some rows, in the order given."""
        lengths = self.starts[rows + 1] - self.starts[rows]
        starts = np.cumsum([0, *lengths])
        at = np.repeat(self.starts[rows] - starts[:-1], lengths) + np.arange(starts[-1])
        made = type(self)(self.ids[at], self.is_target[at], self.logp[at], starts, self.tokenizer)
        made.__dict__["spelling"] = self.spelling  # of the whole table, made once
        return made

    def lacking(self) -> Marks:
        """Rows with a token, after the first and up to the last target, of unknown ln p: (n,).

        So are those without a target.
        """
        found = np.empty(len(self.starts) - 1, bool)
        for first in range(0, len(found), _READ_ROWS):
            last = min(first + _READ_ROWS, len(found))
            found[first:last] = self._lacking(first, last)
        return found

    def _lacking(self, first: int, last: int) -> Marks:
        """Of the rows [first, last)."""
        place = slice(self.starts[first], self.starts[last])
        lengths = np.diff(self.starts[first : last + 1])
        row = np.repeat(np.arange(last - first), lengths)
        within = np.arange(len(row)) - np.repeat(
            self.starts[first:last] - self.starts[first], lengths
        )
        last_target = np.zeros(last - first, np.int64)
        np.maximum.at(last_target, row, np.where(self.is_target[place], within, 0))
        is_needed = (within > 0) & (within <= last_target[row])
        unknown = row[is_needed & ~np.isfinite(self.logp[place])]
        return (last_target == 0) | (np.bincount(unknown, minlength=last - first) > 0)

    @cached_property
    def spelling(self) -> npt.NDArray[np.object_]:
        """The text of each token by itself, by its id; None for those that no row has."""
        there = self._different()
        found = np.full(int(there.max(initial=-1)) + 1, None, dtype=object)
        found[there] = self.pieces(there)
        return found

    def _different(self) -> Ints:
        """The ids that there are, in rising order."""
        blocks = range(0, len(self.ids), _READ_TOKENS)
        found = [np.unique(self.ids[start : start + _READ_TOKENS]) for start in blocks]
        return np.unique(np.concatenate([np.empty(0, np.int64), *found]))

    def text(self, ids: Sequence[int] | npt.NDArray[np.integer]) -> str:
        """The text of tokens that stand behind one another, special ones and spaces as they are."""
        return decoded(self.tokenizer, [np.asarray(ids, np.int64).tolist()])[0]

    def pieces(self, ids: Sequence[int] | npt.NDArray[np.integer]) -> list[str]:
        """The text of each of some tokens by itself.

        A token that is a part of a character has U+FFFD in it.
        """
        return decoded(self.tokenizer, [[one] for one in np.asarray(ids, np.int64).tolist()])


@dataclass(frozen=True, eq=False)
class _Given:
    """The rows that a table has to have, in this order: (n,)."""

    rows: Ints
    sample_ids: list[str]


def _in_step(
    path: Path, given: _Given, columns: tuple[str, ...]
) -> Iterator[tuple[int, int, pa.RecordBatch]]:
    """Batches of a table, each with the positions of its rows in the scores: [first, last).

    Raises:
        DataError: The rows are not those of the scores, in the same order.
    """
    first = 0
    for batch in batches(path, ["row", "sample_id", *columns], _READ_ROWS):
        last = first + len(batch)
        rows, ids = batch["row"].to_pylist(), batch["sample_id"].to_pylist()
        if rows != given.rows[first:last].tolist() or ids != given.sample_ids[first:last]:
            raise DataError(
                f"{path} has other rows than the scores, from line {first} on; score the data anew"
            )
        yield first, last, batch
        first = last
    if first != len(given.rows):
        raise DataError(
            f"{path} has {first} rows, and there are {len(given.rows)} scores; score anew"
        )


def _starts(path: Path, given: _Given) -> Ints:
    starts = np.zeros(len(given.rows) + 1, np.int64)
    for first, last, batch in _in_step(path, given, ("input_ids", "is_target")):
        lengths, marks = (_lengths(batch[name]) for name in ("input_ids", "is_target"))
        if not np.array_equal(lengths, marks):
            raise DataError(f"{path} has input_ids and is_target of different lengths")
        starts[first + 1 : last + 1] = lengths
    return starts.cumsum()


def _logp(path: Path, given: _Given, starts: Ints) -> npt.NDArray[np.float32]:
    """The column `token_logp`: (N,), NaN where it is null."""
    logp = roomy(int(starts[-1]), np.float32)
    for first, last, batch in _in_step(path, given, ("token_logp",)):
        column, lengths = batch["token_logp"].cast(_LOGP), np.diff(starts[first : last + 1])
        is_known = np.asarray(column.is_valid().to_numpy(zero_copy_only=False), bool)
        if not np.array_equal(_lengths(column), np.where(is_known, lengths, 0)):
            raise DataError(f"{path} and the samples differ in the number of tokens; score anew")
        there = logp[starts[first] : starts[last]]
        there[:] = np.nan
        there[np.repeat(is_known, lengths)] = _numbers(column)
    return logp


def _lengths(column: pa.ListArray) -> Ints:
    """0 for null."""
    lengths = pc.fill_null(pc.list_value_length(column), 0)
    return np.asarray(lengths.to_numpy(zero_copy_only=False), np.int64)


def _numbers(column: pa.ListArray) -> npt.NDArray[np.generic]:
    return np.asarray(column.flatten().to_numpy(zero_copy_only=False))
