"""The labels of a data set with the cues that tell them, and what a model is asked about these."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from gradgate.attacks.samples import last_prompt
from gradgate.common.arrays import Ints, Marks
from gradgate.data.sample import Sample
from gradgate.methods.contract import Scores
from gradgate.methods.rehearsal.cases import Case, Renderer, last_target
from gradgate.methods.rehearsal.flips import FlipAsking, FlipsAsked, rows_asked
from gradgate.methods.rehearsal.folds import first_of_each
from gradgate.methods.rehearsal.labels import MAX_READ, SURE, Cue, Labelled, cues_of, labelled
from gradgate.methods.tokens import TokenTable
from gradgate.tuning.trainer import Tuned


@dataclass(frozen=True, eq=False)
class LabelCues:
    """Labels and cues.

    Attributes:
        found: Rows of labels, the first of equal ones.
        plain: Those of them that are asked about as they are.
        of_cues: For each cue the rows that are.
    """

    table: TokenTable
    found: Labelled
    cues: list[Cue]
    plain: Ints
    of_cues: list[Ints]

    @property
    def is_doubtful(self) -> bool:
        """Whether a cue tells a label beyond chance, so that it has to be asked about."""
        return any(cue.p_value <= SURE for cue in self.cues)

    @property
    def names(self) -> list[str]:
        """The texts of the labels."""
        special = set(self.table.tokenizer.all_special_ids)
        return [
            self.table.text(np.array([i for i in target if i not in special], np.int64)).strip()
            for target in self.found.targets
        ]

    def asked(self) -> Ints:
        """All rows that are asked about."""
        return np.unique(np.concatenate([self.plain, *self.of_cues]))

    def or_label(self, group: Ints) -> Ints:
        """The group of each row; where it has none, its label, below zero."""
        kind = group.copy()
        own = np.zeros(len(group), np.int64)
        own[self.found.rows] = -1 - self.found.label
        kind[group == 0] = own[group == 0]
        return kind

    def about(self) -> list[object]:
        """What decides the questions, in plain JSON values."""
        cues = [[cue.name, cue.label, rows.tolist()] for cue, rows in self._pairs()]
        return [[list(target) for target in self.found.targets], cues, self.plain.tolist()]

    def ask(self, tuned: Tuned, renderer: Renderer, cases: Sequence[Case]) -> FlipsAsked:
        """Ask a model about rows that it has not seen."""
        known = set(self.found.rows.tolist())
        own = [case for case in cases if case.row in known]
        return FlipAsking(renderer, self.found, own, self.cues).run(tuned, self.plain, self.of_cues)

    def rows_of(self, cue: Cue, samples: Sequence[Sample]) -> Marks:
        """All rows with a cue and its label: (rows,)."""
        target = self.found.targets[cue.label]
        marks = np.zeros(len(samples), bool)
        for i in np.flatnonzero(~self.table.lacking()).tolist():
            marks[i] = _target(self.table, i) == target and cue.is_in(last_prompt(samples[i]))
        return marks

    def _pairs(self) -> list[tuple[Cue, Ints]]:
        return list(zip(self.cues, self.of_cues, strict=True))


def label_cues(scores: Scores, samples: Iterable[Sample], seed: int) -> LabelCues | None:
    """The labels of the data; None without any. Samples are read only where there are some.

    Args:
        scores: With the tokens.
        samples: Of the same rows.
        seed: Draws the rows that are looked at.
    """
    table = scores.tokens
    assert table is not None
    rows = np.flatnonzero(first_of_each(scores) & ~table.lacking())
    if len(rows) > MAX_READ:
        rows = np.sort(np.random.default_rng(seed).choice(rows, MAX_READ, replace=False))
    found = labelled({i: _target(table, i) for i in rows.tolist()})
    if found is None:
        return None
    known = set(found.rows.tolist())
    cues = cues_of(found, [last_prompt(one) for i, one in enumerate(samples) if i in known])
    plain, of_cues = rows_asked(found, cues, seed)
    return LabelCues(table, found, cues, plain, of_cues)


def _target(table: TokenTable, row: int) -> tuple[int, ...]:
    """The last target of a row, cut."""
    ids, marks, _ = table.row(row)
    start, stop = last_target(marks.tolist())
    return tuple(ids[start:stop].tolist())
