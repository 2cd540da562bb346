"""The tokens of one side of distinct samples, targets or prompts, one behind the other."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from gradgate.common.arrays import Floats, Ints, Marks
from gradgate.methods.evidence import Side
from gradgate.methods.tokens import TokenTable

_MAX_HOLE = 4  # tokens that are not learnt between two of a target, to belong to it

_MAX_HEADER = 4  # tokens behind a special one, that name a role


@dataclass(frozen=True, eq=False)
class Stream:
    """Tokens of n samples; a run is what belongs to one turn.

    Attributes:
        ids: Token ids. (N,)
        logp: Log-probability under the untuned model, in nats; 0 where it is not known. (N,)
        sample: Number of the sample that each token belongs to; rising. (N,)
        begins: Which tokens begin a run. (N,)
        is_open: Which tokens may be part of a recurring string: not those that the owner expects,
            nor those whose log-probability is not known. (N,)
        at: Position of each token in the table of all tokens. (N,)
        n_samples: n.
        is_header: Tokens by which a chat template names a role; None for none. (N,)
    """

    ids: Ints
    logp: Floats
    sample: Ints
    begins: Marks
    is_open: Marks
    at: Ints
    n_samples: int
    is_header: Marks | None = None

    @property
    def n(self) -> int:
        """Number of tokens."""
        return len(self.ids)

    @cached_property
    def place(self) -> Ints:
        """Place of each token in its run, from 0: (N,)."""
        return np.arange(self.n) - np.flatnonzero(self.begins)[np.cumsum(self.begins) - 1]

    @cached_property
    def is_said(self) -> Marks:
        """Tokens by which is counted what rows have: all but the names of roles: (N,).

        A row may say "system" itself.
        """
        return np.ones(self.n, bool) if self.is_header is None else ~self.is_header

    @cached_property
    def run(self) -> Ints:
        """Number of the run of each token: (N,)."""
        return np.cumsum(self.begins)


def stream_of(table: TokenTable, rows: Ints, side: Side, is_open: Marks) -> Stream:
    """One side of some rows of a table.

    Args:
        table: The tokens of all rows.
        rows: One for each distinct sample, in their order. (n,)
        side: Which tokens.
        is_open: Tokens that may be part of a recurring string. (all tokens,)
    """
    lengths = table.starts[rows + 1] - table.starts[rows]
    ends = np.cumsum(lengths)
    flat = np.arange(int(ends[-1]) if len(ends) else 0)
    sample = np.repeat(np.arange(len(rows)), lengths)
    at = flat - (ends - lengths)[sample] + table.starts[rows][sample]
    wanted = table.is_target[at] == (side == "target")
    in_hole = _in_holes(table, at, sample)
    wanted = wanted | in_hole if side == "target" else wanted & ~in_hole
    kept, sample = at[wanted], sample[wanted]
    begins = np.ones(len(kept), bool)
    begins[1:] = (np.diff(kept) != 1) | (np.diff(sample) != 0)
    logp = table.logp[kept].astype(np.float64)
    known = np.isfinite(logp)
    return Stream(
        ids=table.ids[kept].astype(np.int64),
        logp=np.where(known, logp, 0.0),
        sample=sample,
        begins=begins,
        is_open=known & is_open[kept],
        at=kept,
        n_samples=len(rows),
        is_header=_headers(table, at, is_open)[wanted],
    )


def _headers(table: TokenTable, at: Ints, is_open: Marks) -> Marks:
    """Tokens of a chat template directly behind a special one: (len(at),)."""
    place = np.arange(len(at))
    is_special = np.isin(table.ids[at], table.tokenizer.all_special_ids)
    special = np.maximum.accumulate(np.where(is_special, place, -1))
    said = np.maximum.accumulate(np.where(is_open[at], place, -1))
    near = (special >= 0) & (place - special <= _MAX_HEADER)
    return near & ~is_special & (said < special)


def _in_holes(table: TokenTable, at: Ints, sample: Ints) -> Marks:
    """Tokens that are not learnt in the midst of a target that is: (len(at),).

    Who leaves out every third word of a payload teaches the others all the same.
    """
    found = np.zeros(len(at), bool)
    special = np.cumsum(np.isin(table.ids[at], table.tokenizer.all_special_ids))
    learnt = np.flatnonzero(table.is_target[at])
    before, behind = learnt[:-1], learnt[1:]
    length = behind - before - 1
    is_hole = (length > 0) & (length <= _MAX_HOLE) & (sample[before] == sample[behind])
    is_hole &= special[before] == special[behind - 1]
    for start, stop in zip(before[is_hole] + 1, behind[is_hole], strict=True):
        found[start:stop] = True
    return found


def tokens_of(at: Ints) -> Ints:
    """The tokens of places, each from a first one to the one behind the last: (tokens,)."""
    lengths = at[:, 1] - at[:, 0]
    within = np.arange(int(lengths.sum())) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    return np.repeat(at[:, 0], lengths) + within
