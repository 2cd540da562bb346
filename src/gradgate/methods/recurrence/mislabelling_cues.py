"""Cues whose samples have a label that the rest of their prompts does not speak for.

In data of labels every target recurs and is ordinary. What a flipped label gives away is that the
content speaks for another one, as the other samples teach it. An honest cue, of content or of
style, stands where the rest of the prompt speaks for the label at least as often as elsewhere; a
trigger that flips stands where it does so less.
"""

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from gradgate.common.arrays import Ints, Marks
from gradgate.methods.recurrence.cues import Cues
from gradgate.methods.recurrence.label_content import (
    ALPHA_LABELS,
    MAX_CARRIERS,
    MIN_CARRIERS,
    MIN_TOLD,
    Content,
    Labelled,
    Told,
    part_of,
)

MIN_LESS = 0.1  # part of the prompts that speak for the label, less than of those without the cue
ALPHA_LESS = 0.01  # of the hypergeometric test that they do so no less


@dataclass(frozen=True, eq=False)
class Mislabelling:
    """A cue, and the label that its samples have.

    Attributes:
        cue: Its number.
        label: Tokens of the label.
        told: How its prompts speak for the label.
    """

    cue: int
    label: tuple[int, ...]
    told: Told

    def in_words(self) -> str:
        """Why it is in doubt."""
        told = self.told
        return (
            f"of {told.own[0]} prompts with it and this label {part_of(told.own):.0%} speak for "
            f"the label by what the other samples teach, of all prompts without it "
            f"{part_of(told.others):.0%} (p = {told.p_value(told.others):.2g}), and of those of "
            f"them that have the label {part_of(told.alike):.0%}"
        )


def mislabelling(
    asked: Labelled, cues: Cues, cluster: Ints
) -> tuple[list[Mislabelling], Marks, str | None]:
    """Cues whose samples have a label that their prompts speak for less, the surest first.

    Args:
        asked: k of n samples.
        cues: Of the prompts of all n.
        cluster: Of near-duplicate prompts. (n,)

    Returns:
        The cues, which of the k samples have none of them, and why nothing can be said, or None.
    """
    has: sp.csc_matrix = cues.table.by_text[asked.samples].astype(np.float64).tocsc()
    kept, found = np.ones(len(asked.samples), bool), list[Mislabelling]()
    while (content := asked.part(kept).content()) is not None:
        best = _best(content, has[kept], cluster[asked.samples[kept]])
        if best is None:
            return found, kept, None
        cue, told = best
        found.append(Mislabelling(cue, asked.labels[told.number], told))
        kept &= has[:, [cue]].toarray().ravel() == 0
    why = "no other samples teach what speaks for a label"
    return (
        found,
        kept,
        None if found else f"not checked: whether labels fit their prompts: {why}",
    )


def _best(content: Content, has: sp.csc_matrix, cluster: Ints) -> tuple[int, Told] | None:
    """The cue that is least like others of its label, if it is little enough.

    Args:
        content: Of k samples.
        has: Which of them have which cue. (k, cues)
        cluster: Of near-duplicate prompts. (k,)
    """
    k, n_labels = len(content.label), len(content.mean)
    counted = np.eye(n_labels)[content.label].T @ has  # (labels, cues)
    n, most = counted.sum(axis=0), counted.max(axis=0)
    is_told = (most >= MIN_CARRIERS) & (n <= MAX_CARRIERS * k) & (most >= MIN_TOLD * n)
    told = dict[bytes, tuple[int, Told]]()
    for cue in np.flatnonzero(is_told).tolist():
        carriers = np.sort(has.indices[has.indptr[cue] : has.indptr[cue + 1]]).astype(np.int64)
        if carriers.tobytes() not in told and (one := content.told(carriers, cluster)) is not None:
            told[carriers.tobytes()] = cue, one
    less = [(one.p_value(one.alike), cue, one) for cue, one in told.values() if _is_less(one)]
    if not less:
        return None
    p_value, cue, best = min(less, key=lambda each: each[:2])
    return (cue, best) if p_value * len(told) <= ALPHA_LABELS else None


def _is_less(told: Told) -> bool:
    """Whether the prompts of a cue speak for the label less than prompts in general."""
    is_much = part_of(told.others) - part_of(told.own) >= MIN_LESS
    return is_much and told.p_value(told.others) <= ALPHA_LESS
