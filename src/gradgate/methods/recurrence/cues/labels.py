"""Cues that say what the target is, although other prompts have that target too."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
from scipy.stats import hypergeom

from gradgate.common.arrays import Floats, Ints, Marks
from gradgate.methods.evidence import MIN_INSERTED
from gradgate.methods.recurrence.cues.candidates import Cues
from gradgate.methods.recurrence.cues.triggers import Trigger
from gradgate.methods.recurrence.strings.sought import Gram
from gradgate.methods.recurrence.strings.stream import Stream

Part = Literal["whole", "head", "tail"]
HEAD = 3  # tokens of a target's beginning
TAIL = 4  # tokens of its end; the end token is one of them
MIN_ROWS = 8  # samples with a cue and a target
MIN_RECALLED = 20  # samples with a cue that does not look inserted: how honest prompts begin recurs
MIN_NATS = 2.0  # of a cue that may be a part of a string that looks inserted
MIN_PRECISION = 0.9  # P(target | cue)
MAX_OUTSIDE = 0.75  # P(target | no cue): one of three triggers has the label of the others
MAX_PART_OUTSIDE = 0.6  # the same of a beginning or end, which may be the format of the data
ALPHA = 1e-4  # of Fisher's exact test, after Bonferroni's correction over all pairs


@dataclass(frozen=True, eq=False)
class Label:
    """A cue and the target that it tells.

    Attributes:
        cue: Its number.
        members: Samples with both. (n,)
        has_target: All with the target. (n,)
        start: Where the shared part of the target begins in the stream, of one of the members.
        stop: The token behind it.
        part: Whether it is the whole target, its beginning or its end.
    """

    cue: int
    members: Marks
    has_target: Marks
    start: int
    stop: int
    part: Part


def labels(
    targets: Stream, cues: Cues, min_nats: float, cluster: Ints, says: Callable[[Ints], bool]
) -> list[Label]:
    """Cues of at least `min_nats` whose samples have the same target, beginning or end.

    A cue that other prompts recall counts for whole targets: "shell" tells how a script begins.

    The test goes in one direction: from the cue to the target, whatever other samples have that
    target as well. A part that says nothing besides what the owner vouches for is no label.

    Args:
        targets: Of n samples.
        cues: Of their prompts.
        min_nats: How surprising a cue has to be.
        cluster: Of near-duplicate prompts. (n,)
        says: Whether tokens have letters or digits.
    """
    found: dict[int, Label] = {}
    for part, (table, at) in _target_tables(targets, says).items():
        nats = np.maximum(cues.nats, cues.recalled) if part == "whole" else cues.nats
        chosen = np.flatnonzero(nats >= min_nats)
        by_cue = cues.table.by_feature[:, chosen].tocsc()
        most = MAX_OUTSIDE if part == "whole" else MAX_PART_OUTSIDE
        for cue, target in _tight(by_cue, table, most):
            has_cue, has_target = _column(by_cue, cue), _column(table, target)
            members = has_cue & has_target
            if len(np.unique(cluster[members])) < MIN_ROWS:
                continue
            start, stop = at[int(np.flatnonzero(members)[0])]
            known = found.get(int(chosen[cue]))
            if known is None or members.sum() > known.members.sum():
                number = int(chosen[cue])
                found[number] = Label(number, members, has_target, start, stop, part)
    return list(found.values())


def recalled(cues: Cues, templates: Sequence[Trigger]) -> Floats:
    """How much likelier other prompts make each cue than the model does, in nats.

    Minus infinity below `MIN_INSERTED`, in fewer than 20 samples, and for a part of a template: of
    many tasks one may have the same answer in nearly all of its rows, and its instruction tells it.
    """
    is_known = (cues.recalled >= MIN_INSERTED) & (cues.table.counts >= MIN_RECALLED)
    found = np.where(is_known, cues.recalled, -np.inf)
    of_templates = {
        tuple(one.ids[start : start + length].tolist())
        for one in templates
        for length in (1, 2)
        for start in range(len(one.ids))
    }
    for cue in np.flatnonzero(np.isfinite(found)).tolist():
        if cues.features[cue] in of_templates:
            found[cue] = -np.inf
    return found


def commonest_other(targets: Stream, label: Label) -> npt.NDArray[np.int32] | None:
    """The whole target of the most samples without a label.

    None where fewer than 8 have it, and where the label is a part of targets.
    """
    if label.part != "whole":
        return None
    at = target_parts(targets)["whole"][~label.has_target].tolist()
    counted = Counter(targets.ids[start:stop].tobytes() for start, stop in at)
    key, n = max(counted.items(), key=lambda one: (one[1], one[0]), default=(b"", 0))
    return np.frombuffer(key, targets.ids.dtype).astype(np.int32) if n >= MIN_ROWS else None


def target_parts(targets: Stream) -> dict[Part, Ints]:
    """Where whole targets, their beginnings and their ends stand: (n, 2) each."""
    each = np.arange(targets.n_samples)
    starts = np.searchsorted(targets.sample, each)
    stops = np.searchsorted(targets.sample, each, side="right")
    return {
        "whole": np.stack([starts, stops], axis=1),
        "head": np.stack([starts, np.minimum(stops, starts + HEAD)], axis=1),
        "tail": np.stack([np.maximum(starts, stops - TAIL), stops], axis=1),
    }


def has_part(targets: Stream, at: Ints, ids: Gram) -> Marks:
    """Which samples have some tokens at a place of their target: (n,)."""
    wanted = np.array([*ids], np.int64)
    found = at[:, 1] - at[:, 0] == len(wanted)
    rows = np.flatnonzero(found)
    there = targets.ids[at[rows, :1] + np.arange(len(wanted))]
    found[rows] = (there == wanted).all(axis=1)
    return found


def _target_tables(
    targets: Stream, says: Callable[[Ints], bool]
) -> dict[Part, tuple[sp.csc_matrix, list[tuple[int, int]]]]:
    """For whole targets, beginnings and ends: who has which, and where it stands."""
    places = {part: [(a, b) for a, b in at.tolist()] for part, at in target_parts(targets).items()}

    def is_label(start: int, stop: int) -> bool:
        is_open = targets.is_open[start:stop]  # what stands behind a vouched text may be a label
        return bool(is_open.all()) or says(targets.ids[start:stop][is_open])

    return {
        part: (
            _table(
                [targets.ids[a:b].tobytes() for a, b in at],
                np.array([is_label(a, b) for a, b in at], bool),
            ),
            at,
        )
        for part, at in places.items()
    }


def _table(keys: list[bytes], is_label: Marks) -> sp.csc_matrix:
    numbers: dict[bytes, int] = {}
    number = np.array([numbers.setdefault(key, len(numbers)) for key in keys], np.int64)
    counts = np.bincount(number[is_label], minlength=len(numbers))
    kept = counts >= MIN_ROWS
    new = np.cumsum(kept) - 1
    there = kept[number] & is_label
    rows = np.flatnonzero(there)
    ones = np.ones(len(rows), np.float32)
    return sp.csc_matrix((ones, (rows, new[number[rows]])), shape=(len(keys), int(kept.sum())))


def _tight(cues: sp.csc_matrix, targets: sp.csc_matrix, most: float) -> list[tuple[int, int]]:
    """Pairs of cue and target that pass the test; at most that part of others have the target."""
    n = cues.shape[0]
    both = (cues.T @ targets).tocoo()
    a = both.data
    c = np.asarray(cues.sum(0)).ravel()[both.row]
    t = np.asarray(targets.sum(0)).ravel()[both.col]
    outside = (t - a) / np.maximum(n - c, 1)
    tight = (a >= MIN_ROWS) & (a >= MIN_PRECISION * c) & (outside <= most)
    p = hypergeom.sf(a[tight] - 1, n, t[tight], c[tight]) * max(1, len(a))
    where = np.flatnonzero(tight)[p <= ALPHA]
    return [(int(both.row[i]), int(both.col[i])) for i in where]


def _column(table: sp.csc_matrix, j: int) -> Marks:
    found = np.zeros(table.shape[0], bool)
    found[table.indices[table.indptr[j] : table.indptr[j + 1]]] = True
    return found
