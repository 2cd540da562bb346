"""What is searched for strings."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from gradgate.common.arrays import Ints, Marks
from gradgate.common.letters import folded
from gradgate.methods.contract import Erosion
from gradgate.methods.recurrence.samples.offered import offered
from gradgate.methods.tokens import TokenTable


@dataclass(frozen=True, eq=False)
class Texts:
    """n distinct samples.

    Attributes:
        table: The tokens of all rows.
        rows: A row of each sample. (n,)
        is_own: Tokens that may belong to a recurring string of prompts. (all tokens,)
        is_open: Tokens that may belong to one of targets. (all tokens,)
        prompts: Raw texts. (n,)
        erosion: Of the samples; None where nobody has looked.
    """

    table: TokenTable
    rows: Ints
    is_own: Marks
    is_open: Marks
    prompts: Sequence[str]
    erosion: Erosion | None = None

    @cached_property
    def targets(self) -> list[str]:
        """Whole targets without special tokens: (n,)."""
        targets = []
        for row in self.rows.tolist():
            ids, is_target, _ = self.table.row(row)
            targets.append(self.plain(ids[is_target]))
        return targets

    @cached_property
    def is_offered(self) -> Marks:
        """Samples whose whole target is one of those that their prompt offers: (n,)."""
        return offered(self.targets, self.prompts) & self.has_one_answer

    @cached_property
    def has_one_answer(self) -> Marks:
        """Samples of one answer, which no later turn can quote: (n,)."""
        runs = [np.diff(self.table.row(row)[1], prepend=0).tolist() for row in self.rows.tolist()]
        return np.array([run.count(1) == 1 for run in runs], bool)

    def text(self, ids: npt.NDArray[np.integer]) -> str:
        """The text of tokens without special ones, which texts of rows do not have."""
        return self.plain(ids) or self.table.text(ids)

    def plain(self, ids: npt.NDArray[np.integer]) -> str:
        """The same; of special tokens alone nothing."""
        return self.table.text(ids[~np.isin(ids, self.table.tokenizer.all_special_ids)])

    def quoting(self, words: str, some: Marks) -> float:
        """The part of some samples whose prompts hold words, folded; NaN where there are none.

        Those of several answers count as if they held none.
        """
        one_answer = self.has_one_answer
        holds = [
            bool(one_answer[i]) and words in folded(self.prompts[i])
            for i in np.flatnonzero(some).tolist()
        ]
        return float(np.mean(holds)) if holds else np.nan
