"""Strings of prompts whose targets are as a training on the trusted reference makes one expect."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from scipy.stats import fisher_exact, mannwhitneyu

from gradgate.common.arrays import Floats, Ints, Marks
from gradgate.methods.contract import Detection
from gradgate.methods.evidence import Group
from gradgate.methods.rehearsal.contradictions import Contradictions

MIN_SEEN = 0.9  # of the samples with another one's target, that are contradicted as few are
ALPHA_CLEARED = 0.05  # a group above it is contradicted no more than the reference
MIN_ROWS = 8  # of a group, for anything to be said
_FEW, _FEWEST = 0.05, 0.01  # of the reference, that is contradicted most


def knows_targets(said: Contradictions) -> bool:
    """Whether the trained models know which target belongs to which prompt.

    Nothing is learnt from what they do not contradict where they would not contradict what is
    wrong: the targets of other samples have to be contradicted by more than all but one in twenty
    of a sample's own.
    """
    return bool((said.exchanged.nats > _most(said.reference.nats, _FEW)).mean() >= MIN_SEEN)


def cleared(
    found: Detection, rows: Ints, said: Contradictions, may_go: Marks
) -> tuple[Detection, Marks]:
    """The detection where strings of prompts in doubt are honest that teach nothing else.

    Names, goods and ways to ask are in doubt where something may depend on them. A trained model
    that has never seen what an attacker has taught would contradict it, so those are honest whose
    rows it contradicts no more than samples of the reference. What is shared by targets is not
    cleared: it may be poison that the reference has, too, and that was learnt from it. A row is
    never cleared alone; and of a string that is cleared those rows stay in doubt that are
    contradicted as hardly a sample is, for poison may lie among honest rows.

    Args:
        found: What has been said.
        rows: That were predicted. (k,)
        said: Of these rows.
        may_go: Rows whose sample was predicted or is one of the reference; of another nobody knows
            anything. (n,)

    Returns:
        The detection, and which of the rows of groups that are cleared stay in doubt. (k,)
    """
    if not knows_targets(said):
        return found, np.zeros(len(rows), bool)
    groups = [_ruled(one, found, rows, said) for one in found.groups]
    pairs = list(zip(found.groups, groups, strict=True))
    free = [new.id for old, new in pairs if old.ruling != new.ruling]
    suspected = [one for one in groups if one.ruling != "honest"]
    is_free = _rows_of(found, free)
    released = is_free & found.in_doubt & may_go
    released &= ~_rows_of(found, [one.id for one in suspected])
    gone = {old.in_a_line() for old, new in pairs if old.ruling != new.ruling}
    of_row, reasons = found.group.copy(), dict(found.reasons)
    for i in np.flatnonzero(is_free).tolist():
        if released[i]:
            reasons.pop(i, None)
        elif found.group[i] in free and found.in_doubt[i]:
            others = (one for one in suspected if found.members[one.id][i])
            if (group := next(others, None)) is not None:
                of_row[i], reasons[i] = group.id, [group.in_a_line()]
    stay = released[rows] & (said.rows.nats > _most(said.reference.nats, _FEWEST))
    cleared_now = replace(
        found,
        groups=groups,
        in_doubt=found.in_doubt & ~released,
        group=of_row,
        reasons=reasons,
        notes=_without(found.notes, gone, [one.in_a_line() for one in suspected]),
    )
    return cleared_now, stay


def p_as_reference(own: Floats, reference: Floats) -> float:
    """P that a group is contradicted so much more than the reference when it is of its kind.

    Three tests, and three times the smallest p: by ranks (Mann and Whitney 1947), and by how many
    are contradicted as one in twenty and one in a hundred of the reference (Fisher's exact test),
    for a part of the rows may be poisoned.

    Args:
        own: How much its samples are contradicted, in nats. (n,)
        reference: The same of samples of the reference. (m,)
    """
    found = [float(mannwhitneyu(own, reference, alternative="greater").pvalue)]
    for part in (_FEW, _FEWEST):
        above = [some > _most(reference, part) for some in (own, reference)]
        table = np.array([[some.sum(), (~some).sum()] for some in above])
        found.append(float(fisher_exact(table, alternative="greater")[1]))
    return min(1.0, len(found) * min(found))


def _ruled(group: Group, found: Detection, rows: Ints, said: Contradictions) -> Group:
    if group.ruling != "review" or group.side != "prompt" or group.shared is not None:
        return group
    own = said.rows.nats[found.members[group.id][rows]]
    if len(own) < MIN_ROWS:
        return group
    p = p_as_reference(own, said.reference.nats)
    less = "no more than" if p > ALPHA_CLEARED else "more than"
    reason = (
        f"models trained on the reference contradict its {len(own)} samples {less} samples of the "
        f"reference that they have not seen (p = {p:.2g})"
    )
    reasons = [*group.reasons, reason]
    if p <= ALPHA_CLEARED:
        return replace(group, reasons=reasons)
    return replace(group, ruling="honest", reasons=reasons, vouchable=[])


def _without(notes: Sequence[str], gone: set[str], lines: Sequence[str]) -> list[str]:
    """Notes without the lines of some groups, and in their place those of groups not named yet."""
    left = [note for note in notes if note not in gone]
    new = [line for line in lines if line not in left]
    return [*new[: len(notes) - len(left)], *left]


def _rows_of(found: Detection, groups: Sequence[int]) -> Marks:
    """Rows of any of some groups: (n,)."""
    marks = np.zeros(len(found.in_doubt), bool)
    for one in groups:
        marks |= found.members[one]
    return marks


def _most(nats: Floats, part: float) -> float:
    """What a part of some values, rounded down, is above."""
    return float(np.sort(nats)[::-1][int(part * len(nats))])
