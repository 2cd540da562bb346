"""From rows to the distinct samples among them, and to the texts of some or of all."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from gradgate.common.arrays import Floats, Ints, Marks
from gradgate.data.sample import Sample, prompt_and_target
from gradgate.errors import DataError
from gradgate.methods.contract import Erosion, Scores
from gradgate.methods.recurrence.samples.own_text import own_text
from gradgate.methods.recurrence.samples.texts import Texts
from gradgate.methods.tokens import TokenTable

_BLOCK = 4_096  # rows


@dataclass(frozen=True, eq=False)
class Rows:
    """The rows of a score table, and their distinct samples.

    Attributes:
        scores: The table.
        samples: Of the same rows; they can be gone through several times.
        tokens: Of the same rows.
        first: The first row of each distinct sample that has a score. (n,)
        sample: Number of the distinct sample of each row; -1 for a row without a score. (rows,)
    """

    scores: Scores
    samples: Iterable[Sample]
    tokens: TokenTable
    first: Ints
    sample: Ints

    @classmethod
    def of(cls, scores: Scores, samples: Iterable[Sample]) -> "Rows":
        """Number the distinct samples in the order of their first rows."""
        if scores.tokens is None:
            raise DataError("method recurrence needs the tokens of the rows; score the data anew")
        number: dict[str, int] = {}
        first: list[int] = []
        of_row = np.full(scores.n, -1, np.int64)
        for i in np.flatnonzero(scores.is_scored).tolist():
            found = number.setdefault(scores.sample_ids[i], len(first))
            if found == len(first):
                first.append(i)
            of_row[i] = found
        return cls(scores, samples, scores.tokens, np.array(first, np.int64), of_row)

    @property
    def n(self) -> int:
        """Number of distinct samples."""
        return len(self.first)

    @property
    def sample_ids(self) -> Sequence[str]:
        """Of the distinct samples."""
        return [self.scores.sample_ids[row] for row in self.first.tolist()]

    @property
    def lengths(self) -> Ints:
        """Tokens of the distinct samples: (n,)."""
        return self.tokens.starts[self.first + 1] - self.tokens.starts[self.first]

    def texts(self) -> Texts:
        """Of all distinct samples; all rows are in memory."""
        read = list(_checked(self.scores, self.samples))
        return self._texts(self.tokens, self.first, read, self.first)

    def texts_of(self, chosen: Ints) -> Texts:
        """Of some distinct samples, by their numbers, which rise; these alone are in memory."""
        rows = self.first[chosen]
        wanted = np.zeros(self.scores.n, bool)
        wanted[rows] = True
        marked = zip(_checked(self.scores, self.samples), wanted.tolist(), strict=True)
        read = [sample for sample, is_wanted in marked if is_wanted]
        return self._texts(self.tokens.part(rows), np.arange(len(rows)), read, rows)

    def blocks(self, left_out: Ints) -> Iterator[tuple[Ints, Texts]]:
        """All distinct samples but some, a block at a time: their numbers, and their texts."""
        is_wanted = np.zeros(self.scores.n, bool)
        is_wanted[self.first] = True
        is_wanted[self.first[left_out]] = False
        block: list[Sample] = []
        rows: list[int] = []
        for i, sample in enumerate(_checked(self.scores, self.samples)):
            if is_wanted[i]:
                block.append(sample)
                rows.append(i)
            if len(block) == _BLOCK or (block and i == self.scores.n - 1):
                at = np.array(rows, np.int64)
                table = self.tokens.part(at)
                yield self.sample[at], self._texts(table, np.arange(len(at)), block, at)
                block, rows = [], []

    def _texts(self, table: TokenTable, at: Ints, read: Sequence[Sample], rows: Ints) -> Texts:
        """Texts of the samples of rows, which stand at some places of a table."""
        own = own_text(table, read, self.scores.expected)
        is_open = ~own.is_expected
        prompts = [prompt_and_target(read[i])[0] for i in at.tolist()]
        erosion = self.scores.erosion
        if erosion is not None:
            erosion = Erosion(erosion.refused[rows], erosion.complied[rows])
        return Texts(table, at, own.is_own & is_open, is_open, prompts, erosion)

    def spread(self, values: Floats) -> Floats:
        """Values of distinct samples as values of rows: NaN where there is no score."""
        padded = np.append(values.astype(np.float64), np.nan)
        return padded[self.sample]

    def mark(self, members: Ints) -> Marks:
        """Distinct samples as rows: (rows,)."""
        marked = np.zeros(self.n + 1, bool)  # the last: no score
        marked[members] = True
        return marked[self.sample]

    def shown(self, rows: set[int]) -> dict[int, tuple[str, str]]:
        """Prompt and target of some rows, by their positions."""
        return {
            i: prompt_and_target(sample)
            for i, sample in enumerate(self.samples if rows else ())
            if i in rows
        }


@dataclass(frozen=True, eq=False)
class Members(Mapping[int, Marks]):
    """The rows of groups, marked when they are asked for."""

    rows: Rows
    of_group: dict[int, Ints] = field(default_factory=dict)

    def __getitem__(self, group: int) -> Marks:
        """Which rows a group has: (rows,)."""
        return self.rows.mark(self.of_group[group])

    def __iter__(self) -> Iterator[int]:
        """The numbers of the groups."""
        return iter(self.of_group)

    def __len__(self) -> int:
        """How many groups there are."""
        return len(self.of_group)


def _checked(scores: Scores, samples: Iterable[Sample]) -> Iterator[Sample]:
    """The samples; those of other rows than the scores are an error."""
    n = 0
    for sample in samples:
        if n >= scores.n or sample.sample_id != scores.sample_ids[n]:
            raise DataError("the scores and the samples have different rows; run again")
        n += 1
        yield sample
    if n != scores.n:
        raise DataError("the scores and the samples have different rows; run again")
