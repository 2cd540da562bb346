"""Gradient recurrence: how much a sample's gradient resembles those of its nearest neighbours.

Of the distinct samples' sketches the mean is subtracted, which is what the model would learn from
any of them; recurrence is the mean cosine to the nearest others, in [-1, 1]. High: other samples
pull the model in the same direction. Repetitions of a sample do not count as its neighbours, near
repetitions do.

Up to `EXACT` samples every pair is compared. Beyond that the neighbours are looked for in the
nearest cells of an inverted file (faiss), and a sample takes about the same time however many there
are. Cells are those of samples that their digests choose, so that the order of the rows does not
matter.
"""

from collections.abc import Callable, Iterator

import faiss
import numpy as np
import numpy.typing as npt

from gradgate.gradients.sketch import SIZE

Floats = npt.NDArray[np.float32]
Sketches = npt.NDArray[np.float16]
Blocks = Callable[[], Iterator[Sketches]]

NEIGHBOURS = 5
EXACT = 20_000

# A sketch nearer to the mean than this has no direction of its own: rounding to float16 moves it by
# up to 5e-4.
_NO_DIRECTION = 1e-2
_CELL_ROWS = 256  # on average
_MAX_CELLS = 4_096
_PROBED = 16  # cells
_TRAIN_ROWS = 40  # a cell


def gradient_recurrence(
    blocks: Blocks, digests: npt.NDArray[np.uint64], is_scored: npt.NDArray[np.bool_]
) -> npt.NDArray[np.float64]:
    """Recurrence of each of n rows; NaN where it is not scored, or distinct samples are too few.

    Args:
        blocks: Gives the sketches of all rows, of unit length, in blocks (any number, 256); it is
            called several times.
        digests: Equal for rows that are the same sample. (n, 2)
        is_scored: Whether a row has a sketch. (n,)
    """
    recurrence = np.full(len(digests), np.nan)
    rows = np.flatnonzero(is_scored)
    _, first, sample = np.unique(
        _as_one(digests[rows]), return_index=True, return_inverse=True
    )  # by digest
    if len(first) <= NEIGHBOURS:
        return recurrence
    distinct = _Distinct(blocks, rows[first], len(digests))
    found = _exact(distinct) if len(first) <= EXACT else _approximate(distinct)
    recurrence[rows] = found[sample]
    return recurrence


def _as_one(digests: npt.NDArray[np.uint64]) -> npt.NDArray[np.void]:
    return np.ascontiguousarray(digests).view(np.dtype([("", np.uint64)] * 2))[:, 0]


class _Distinct:
    """The sketches of m distinct samples, numbered by their digests, minus their mean."""

    def __init__(self, blocks: Blocks, rows: npt.NDArray[np.int64], n_rows: int) -> None:
        self.n = len(rows)
        self._blocks = blocks
        self._number = np.full(n_rows, -1)  # of the sample that a row stands for
        self._number[rows] = np.arange(self.n)
        total = np.zeros(SIZE)
        for _, sketches in self._raw():
            total += sketches.sum(axis=0, dtype=np.float64)
        self._mean = (total / self.n).astype(np.float32)

    def _raw(self) -> Iterator[tuple[npt.NDArray[np.int64], Floats]]:
        start = 0
        for block in self._blocks():
            numbers = self._number[start : start + len(block)]
            start += len(block)
            chosen = numbers >= 0
            yield numbers[chosen], block[chosen].astype(np.float32)

    def directions(self) -> Iterator[tuple[npt.NDArray[np.int64], Floats]]:
        """Numbers of samples, and their centred sketches of unit length, or zero."""
        for numbers, sketches in self._raw():
            sketches -= self._mean
            length = np.linalg.norm(sketches, axis=1, keepdims=True)
            sketches /= np.where(length < _NO_DIRECTION, np.inf, length)
            yield numbers, sketches

    def first(self, n: int) -> Floats:
        """The directions of the first samples: (n, 256)."""
        found = np.empty((n, SIZE), dtype=np.float32)
        for numbers, directions in self.directions():
            chosen = numbers < n
            found[numbers[chosen]] = directions[chosen]
        return found


def _exact(distinct: _Distinct) -> npt.NDArray[np.float64]:
    """Compare all pairs: (m,)."""
    directions = distinct.first(distinct.n)
    cosines, neighbours = faiss.knn(
        directions, directions, NEIGHBOURS + 1, metric=faiss.METRIC_INNER_PRODUCT
    )
    return _mean_of_others(cosines, neighbours, np.arange(distinct.n))


def _approximate(distinct: _Distinct) -> npt.NDArray[np.float64]:
    """Compare with what lies in the nearest cells: (m,)."""
    index = _cells(distinct)
    for numbers, directions in distinct.directions():
        index.add_with_ids(directions, numbers)
    found = np.empty(distinct.n)
    for numbers, directions in distinct.directions():
        cosines, neighbours = index.search(directions, NEIGHBOURS + 1)
        found[numbers] = _mean_of_others(cosines, neighbours, numbers)
    return found


def _cells(distinct: _Distinct) -> "faiss.IndexIVFScalarQuantizer":
    """Empty cells, around samples that are spread as all are."""
    n_cells = min(_MAX_CELLS, distinct.n // _CELL_ROWS)
    index = faiss.IndexIVFScalarQuantizer(
        faiss.IndexFlatIP(SIZE), SIZE, n_cells, faiss.ScalarQuantizer.QT_8bit,
        faiss.METRIC_INNER_PRODUCT, False,
    )  # fmt: skip
    index.cp.spherical = True
    index.train(distinct.first(min(distinct.n, _TRAIN_ROWS * n_cells)))
    index.nprobe = _PROBED
    return index


def _mean_of_others(
    cosines: Floats, neighbours: npt.NDArray[np.int64], numbers: npt.NDArray[np.int64]
) -> npt.NDArray[np.float64]:
    """Mean over the nearest that are not the sample itself, the nearest first: (m,)."""
    is_other = (neighbours != numbers[:, None]) & (neighbours >= 0)
    # Where others are as near as the sample itself, it need not be among those found.
    is_other &= is_other.cumsum(axis=1) <= NEIGHBOURS
    mean = np.where(is_other, cosines, 0.0).sum(axis=1, dtype=np.float64) / is_other.sum(axis=1)
    return np.asarray(mean.clip(-1.0, 1.0))
