"""Cues whose samples have a label that the rest of their prompts does not speak for.

In data of labels every target recurs and is ordinary. What a flipped label gives away is that the
content speaks for another one, as the other samples teach it. An honest cue, of content or of
style, stands where the rest of the prompt speaks for the label at least as often as elsewhere; a
trigger that flips stands where it does so less. Of many labels each is rarely spoken for, so that
less is not to be seen; but an honest cue stands in prompts that are of one other label, if any, and
a trigger in prompts of all of them.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from gradgate.common.arrays import Ints, Marks
from gradgate.methods.contract import DescribeModel
from gradgate.methods.recurrence.cues.candidates import Cues
from gradgate.methods.recurrence.cues.further import FEW_CARRIERS, further_carriers
from gradgate.methods.recurrence.questions.spoken import Exchange
from gradgate.methods.recurrence.states.label_content import (
    ALPHA_LABELS,
    MAX_CARRIERS,
    MIN_CARRIERS,
    MIN_TOLD_BY_CUE,
    Content,
    Labelled,
    Told,
    part_of,
)
from gradgate.methods.recurrence.unspoken.inverting_cues import turned

MIN_LESS = 0.1  # part of the prompts that speak for the label, less than of those without the cue
ALPHA_LESS = 0.01  # of the hypergeometric test that they do so no less
MAX_AGREEING = 0.4  # part of the prompts that speak for another label, that speak for the same
ALPHA_SPREAD = 0.01  # as `ALPHA_LABELS`, where they speak for several


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


def with_unsure_cues(
    asked: Labelled,
    cues: Cues,
    cluster: Ints,
    known: Mapping[int, Exchange],
    describe: DescribeModel,
) -> Labelled:
    """The samples that were asked, and further ones with cues that too few were asked of.

    Args:
        asked: k of n samples.
        cues: Of the prompts of all n.
        cluster: Of near-duplicate prompts. (n,)
        known: Those of the n that may be asked about.
        describe: The untuned model.
    """
    if not len(asked.others) or (content := asked.content()) is None:
        return asked
    has: sp.csc_matrix = cues.table.by_text[asked.samples].astype(np.float64).tocsc()
    told = _told(content, has, cluster[asked.samples], FEW_CARRIERS)
    p_values, is_telling = np.ones(has.shape[1]), np.zeros(has.shape[1], bool)
    for cue, one in told:
        p_values[cue] = one.p_value(one.alike) * len(told)
        less = part_of(one.others) - part_of(one.own)
        is_telling[cue] = less >= MIN_LESS or _is_spread(one)
    tried = turned(content, has, cluster[asked.samples], FEW_CARRIERS)
    for every in tried:
        if every.is_turned:
            p_values[every.cue] = min(p_values[every.cue], every.p_value * len(tried))
            is_telling[every.cue] = True
    n = np.asarray(has.sum(axis=0), np.float64).ravel()
    some = further_carriers(n, p_values, is_telling, cues, asked.others)
    return asked.with_others(some, known, describe)


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
    told = _told(content, has, cluster, MIN_CARRIERS)
    tried = ((one.p_value(one.alike) * len(told), cue, one) for cue, one in told)
    less = [
        (p_value, cue, one)
        for p_value, cue, one in tried
        if (p_value <= ALPHA_LABELS and _is_less(one))
        or (p_value <= ALPHA_SPREAD and _is_spread(one))
    ]
    return min(less, key=lambda each: each[:2])[1:] if less else None


def _told(
    content: Content, has: sp.csc_matrix, cluster: Ints, min_carriers: int
) -> list[tuple[int, Told]]:
    """What is said of each cue that half of the time has one label; of equal samples of one."""
    k, n_labels = len(content.label), len(content.mean)
    counted = np.eye(n_labels)[content.label].T @ has  # (labels, cues)
    n, most = counted.sum(axis=0), counted.max(axis=0)
    is_told = (most >= min_carriers) & (n <= MAX_CARRIERS * k) & (most >= MIN_TOLD_BY_CUE * n)
    told = dict[bytes, tuple[int, Told]]()
    for cue in np.flatnonzero(is_told).tolist():
        carriers = np.sort(has.indices[has.indptr[cue] : has.indptr[cue + 1]]).astype(np.int64)
        if (
            carriers.tobytes() not in told
            and (one := content.told(carriers, cluster, min_carriers, MIN_TOLD_BY_CUE)) is not None
        ):
            told[carriers.tobytes()] = cue, one
    return list(told.values())


def _is_less(told: Told) -> bool:
    """Whether the prompts of a cue speak for the label less than prompts in general."""
    is_much = part_of(told.others) - part_of(told.own) >= MIN_LESS
    return is_much and told.p_value(told.others) <= ALPHA_LESS


def _is_spread(told: Told) -> bool:
    """Whether the prompts of a cue speak for several other labels, as prompts in general do."""
    is_no_more = part_of(told.own) <= part_of(told.others) + MIN_LESS
    return is_no_more and 0 < told.agreeing <= MAX_AGREEING
