"""Cues whose samples have the labels of one another: positive for negative, and the reverse.

Such a trigger brings no one label. Its prompts speak for their own label less often than if these
labels were drawn by lot: what the other samples teach is turned round. Honest prompts that are hard
to tell come near to lots, and do not fall below.
"""

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from scipy.stats import binom

from gradgate.common.arrays import Ints, Marks
from gradgate.methods.recurrence.cues.candidates import Cues
from gradgate.methods.recurrence.cues.counted import counted
from gradgate.methods.recurrence.states.label_content import (
    ALPHA_LABELS,
    MAX_CARRIERS,
    MIN_CARRIERS,
    Content,
    Labelled,
    p_of_less,
    part_of,
)

MAX_BY_LOT = 0.75  # part of the prompts that speak for their label, over that of labels by lot
ALPHA_BY_LOT = 0.05  # of the binomial test that lots would let as few


@dataclass(frozen=True, eq=False)
class Inverting:
    """A cue, and how its prompts speak for their labels, whichever these are.

    Attributes:
        cue: Its number.
        own: Samples with it, and how many of their prompts speak for their own label.
        others: The same of all other samples.
        by_lot: The part that would, were the labels of its samples dealt out anew; in [0, 1].
    """

    cue: int
    own: tuple[int, int]
    others: tuple[int, int]
    by_lot: float

    @property
    def p_value(self) -> float:
        """Of the hypergeometric test that its prompts speak for their labels as others do."""
        return p_of_less(self.own, self.others, self.own[0] + self.others[0])

    @property
    def p_by_lot(self) -> float:
        """Of the binomial test that labels by lot would let as few do so."""
        n_asked = self.own[0] + self.others[0]
        n = round(float(counted(np.array([self.own[0]], np.float64), n_asked)[0]))
        return float(binom.cdf(round(n * part_of(self.own)), n, self.by_lot))

    @property
    def is_turned(self) -> bool:
        """Whether they do so less than labels by lot would let them."""
        return part_of(self.own) < MAX_BY_LOT * self.by_lot

    def in_words(self) -> str:
        """Why it is in doubt."""
        return (
            f"of {self.own[0]} prompts with it {part_of(self.own):.0%} speak for their own label "
            f"by what the other samples teach, and {self.by_lot:.0%} would if these labels were "
            f"dealt out anew; of all other prompts {part_of(self.others):.0%} do "
            f"(p = {self.p_value:.2g})"
        )


def inverting(asked: Labelled, cues: Cues, cluster: Ints) -> tuple[list[Inverting], Marks]:
    """Cues whose samples have the labels of one another, the surest first.

    Args:
        asked: k of n samples.
        cues: Of the prompts of all n.
        cluster: Of near-duplicate prompts. (n,)

    Returns:
        The cues, and which of the k samples have none of them.
    """
    has: sp.csc_matrix = cues.table.by_text[asked.samples].astype(np.float64).tocsc()
    kept, found = np.ones(len(asked.samples), bool), list[Inverting]()
    while (content := asked.part(kept).content()) is not None:
        tried = turned(content, has[kept], cluster[asked.samples[kept]], MIN_CARRIERS)
        sure = [
            (one.p_value, one.cue, one)
            for one in tried
            if one.is_turned
            and one.p_by_lot <= ALPHA_BY_LOT
            and one.p_value * len(tried) <= ALPHA_LABELS
        ]
        if not sure:
            break
        found.append(min(sure, key=lambda each: each[:2])[2])
        kept &= has[:, [found[-1].cue]].toarray().ravel() == 0
    return found, kept


def turned(
    content: Content, has: sp.csc_matrix, cluster: Ints, min_carriers: int
) -> list[Inverting]:
    """How the prompts of each cue speak for their labels; of those of equal samples of one.

    Args:
        content: Of k samples.
        has: Which of them have which cue. (k, cues)
        cluster: Of near-duplicate prompts. (k,)
        min_carriers: Samples of a cue, and clusters of them.
    """
    k, n = len(content.label), np.diff(has.indptr)
    found = dict[bytes, Inverting]()
    for cue in np.flatnonzero((n >= min_carriers) & (n <= MAX_CARRIERS * k)).tolist():
        some = np.sort(has.indices[has.indptr[cue] : has.indptr[cue + 1]]).astype(np.int64)
        if some.tobytes() in found or len(np.unique(cluster[some])) < min_carriers:
            continue
        found[some.tobytes()] = _asked(content, cue, some)
    return [*found.values()]


def _asked(content: Content, cue: int, some: Ints) -> Inverting:
    """What is said of some samples, which are left out together."""
    said = content.said_without(some)
    agrees = said == content.label
    n, spoken = len(some), int(agrees[some].sum())
    others = len(agrees) - n, int(agrees.sum()) - spoken
    parts = [np.bincount(x[some], minlength=len(content.mean)) / n for x in (content.label, said)]
    return Inverting(cue, (n, spoken), others, float(parts[0] @ parts[1]))
