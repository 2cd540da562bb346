"""Blocks: samples of about equal numbers of target tokens, padded to the largest."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from gradgate.common.arrays import Ints
from gradgate.gradients.spectrum import Gram, Moment, products
from gradgate.gradients.upload import upload

_MIN_COLUMNS = 64


class Block:
    """Samples of about equal T, padded to the largest.

    Attributes:
        lengths: T of each sample. (B,)
        is_real: Positions that are no padding. (B, T)
        hidden: H, zero at padding. float64 (B, T, d)
        products: Of the columns of Delta that were added so far.
        crop: The products at the end of the crop.
    """

    products: Gram | Moment
    crop: Gram | Moment

    def __init__(self, hidden: Tensor, first: int, lengths: Ints) -> None:
        """Take samples whose positions lie behind each other from `first` on in `hidden`."""
        longest, starts = int(lengths[-1]), first + lengths.cumsum() - lengths
        within = np.arange(longest)
        is_real = within < lengths[:, None]
        # at padding any position of the same sample, for another one need not be finite
        rows = (starts[:, None] + np.where(is_real, within, 0)).ravel()
        self._rows = upload(rows, hidden.device)
        self._longest = longest
        self._runs = list(_runs(first, lengths))
        self.lengths = upload(lengths, hidden.device)
        self.is_real = upload(is_real, hidden.device)
        self.hidden = torch.where(self.is_real[:, :, None], self.padded(hidden), 0.0)
        self.products = products(self.hidden)

    def add(self, delta: Tensor, max_bytes: int) -> None:
        """Add columns of Delta of all positions, of which float64 copies are made: (n, some)."""
        for run in self._runs:
            few = max(_MIN_COLUMNS, max_bytes // (8 * (run.rows.stop - run.rows.start)))
            for columns in delta[run.rows].split(few, dim=1):
                copy = columns.double().unflatten(0, (-1, run.length))
                self.products.add(copy, run.samples)

    def padded(self, values: Tensor) -> Tensor:
        """Values of all positions (n, ...) in float64, anything finite at padding: (B, T, ...)."""
        picked = values.index_select(0, self._rows)
        return picked.double().unflatten(0, (len(self.lengths), self._longest))


@dataclass(frozen=True)
class _Run:
    """Samples of one T in a block, and their positions among all."""

    samples: slice
    rows: slice
    length: int


def _runs(first: int, lengths: Ints) -> Iterator[_Run]:
    """Cut samples by rising T, whose positions begin with `first`, into those of equal T."""
    borders = [0, *(np.flatnonzero(np.diff(lengths)) + 1).tolist(), len(lengths)]
    for start, stop in pairwise(borders):
        length = int(lengths[start])
        rows = slice(first, first + length * (stop - start))
        first = rows.stop
        yield _Run(slice(start, stop), rows, length)


def blocks_of(hidden: Tensor, lengths: Ints) -> Iterator[Block]:
    """Cut samples by rising T into blocks of about equal T, so that little of them is padding."""
    ends = lengths.cumsum()
    first = 0
    for i in range(1, len(lengths) + 1):
        if i == len(lengths) or 2 * lengths[i] > 3 * lengths[first] + 16:
            yield Block(hidden, int(ends[first] - lengths[first]), lengths[first:i])
            first = i
