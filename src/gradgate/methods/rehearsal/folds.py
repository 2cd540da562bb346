"""Which rows are rehearsed, and in which of two folds each is trained on."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gradgate.common.arrays import Ints, Marks
from gradgate.methods.contract import Scores
from gradgate.methods.recurrence.samples.near_duplicates import clusters

N_FOLDS = 2
MIN_OTHERS = 64  # rows of no group beside the groups' own
_MAX_MEMBERS = 96  # of one group


@dataclass(frozen=True, eq=False)
class Folds:
    """Rows in two folds; a fold's model is trained on the rows of the other one.

    Attributes:
        rows: Positions, rising. (n,)
        fold: 0 or 1. (n,)
    """

    rows: Ints
    fold: Ints

    def trained_on(self, fold: int) -> Ints:
        """Rows that the model of a fold sees."""
        return self.rows[self.fold != fold]

    def held_out(self, fold: int) -> Ints:
        """Rows that it does not see."""
        return self.rows[self.fold == fold]


def first_of_each(scores: Scores) -> Marks:
    """The first scored row of each distinct sample: (rows,)."""
    first: dict[str, int] = {}
    for i in np.flatnonzero(scores.is_scored).tolist():
        first.setdefault(scores.sample_ids[i], i)
    marks = np.zeros(scores.n, bool)
    marks[list(first.values())] = True
    return marks


def choose(
    group: Ints,
    numbers: list[int],
    usable: Marks,
    max_rows: int,
    seed: int,
    min_others: int = MIN_OTHERS,
) -> Ints:
    """Draw members of the groups that are asked about, and as many other rows.

    Args:
        group: The group of each row; 0 for none. (rows,)
        numbers: Groups that are asked about.
        usable: Rows that can be trained on, the first of equal ones. (rows,)
        max_rows: Rows at most.
        seed: Of the draw.
        min_others: Rows of no group at least, while there is room.
    """
    rng = np.random.default_rng(seed)
    share = max(1, min(_MAX_MEMBERS, max_rows // 2 // max(1, len(numbers))))
    members = [_drawn(np.flatnonzero(usable & (group == number)), share, rng) for number in numbers]
    chosen = np.concatenate([np.empty(0, np.int64), *members])
    others = np.flatnonzero(usable & ~np.isin(group, numbers))
    n_others = min(max(min_others, len(chosen)), max(0, max_rows - len(chosen)))
    return np.sort(np.concatenate([chosen, _drawn(others, n_others, rng)]))


def near_duplicates(prompts: Sequence[str]) -> Ints:
    """The same number for near-duplicates among n prompts, by their words: (n,).

    Words are numbered in a fixed order, for the clusters depend on their numbers.
    """
    number: dict[str, int] = {}
    grams, sample = list[int](), list[int]()
    for place, prompt in enumerate(prompts):
        for word in sorted(set(prompt.casefold().split())):
            grams.append(number.setdefault(word, len(number)))
            sample.append(place)
    return clusters(np.array(grams, np.int64), np.array(sample, np.int64), len(prompts))


def split(rows: Ints, cluster: Ints, group: Ints, seed: int) -> Folds:
    """Put whole clusters of near-duplicate prompts into one of two folds, each group into both.

    Args:
        rows: Positions of the rows. (n,)
        cluster: Of their prompts. (n,)
        group: Of each row; 0 for none. (n,)
        seed: Of the order of the clusters.
    """
    rng = np.random.default_rng(seed)
    fold = np.full(len(rows), -1, np.int64)
    filled: dict[int, list[int]] = {}
    for number in rng.permutation(np.unique(cluster)).tolist():
        members = np.flatnonzero(cluster == number)
        counted = filled.setdefault(int(group[members[0]]), [0] * N_FOLDS)
        smaller = int(np.argmin(counted))
        fold[members] = smaller
        counted[smaller] += len(members)
    return Folds(rows, fold)


def _drawn(numbers: Ints, n: int, rng: np.random.Generator) -> Ints:
    return numbers if len(numbers) <= n else rng.choice(numbers, n, replace=False)
