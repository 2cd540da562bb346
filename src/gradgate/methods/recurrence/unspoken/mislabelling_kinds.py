"""Kinds of prompts, such as those of one style, with a label that their content does not speak for.

A style is no word: each of its prompts may have others. In the untuned model's hidden states they
lie together, so that clusters of these are asked about as cues are. Content lies together as well;
but what honest content of a kind says of its label the others of that label teach.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from sklearn.cluster import KMeans

from gradgate.common.arrays import Floats, Ints
from gradgate.methods.contract import DescribeModel
from gradgate.methods.recurrence.questions.spoken import Exchange
from gradgate.methods.recurrence.states.label_content import (
    ALPHA_LABELS,
    Content,
    Labelled,
    Told,
    part_of,
)
from gradgate.methods.recurrence.states.ridge import scaled

KINDS = (5, 10, 20, 30)  # that the prompts are parted into, coarse to fine
MAX_SPOKEN = 0.6  # part of the prompts that speak for the label, over that of others of the label
_N_AXES = 50  # of the hidden states, the widest
_N_STARTS = 3
_NEW = 0.5  # of a kind's prompts in others that were found, from which on it is one of them
_READ = 2_048  # prompts that are described at once


@dataclass(frozen=True, eq=False)
class MislabelledKind:
    """A kind of prompts, and the label that they have.

    Attributes:
        members: Samples of the kind that have the label, rising.
        label: Tokens of the label.
        told: How the prompts that were asked speak for it.
    """

    members: Ints
    label: tuple[int, ...]
    told: Told

    def in_words(self) -> str:
        """Why it is in doubt."""
        told = self.told
        return (
            f"of {told.own[0]} prompts of this kind with this label {part_of(told.own):.0%} speak "
            "for the label by what the other samples teach, and of others that have it "
            f"{part_of(told.alike):.0%} (p = {told.p_value(told.alike):.2g})"
        )


@dataclass(frozen=True, eq=False)
class _Kind:
    """A cluster of prompts.

    Attributes:
        members: Places among those that were parted, rising.
        axes: That they were parted along: (d, axes), for scaled states.
        parted: By which further prompts are put into a kind.
        number: Of the kind.
    """

    members: Ints
    axes: Floats
    parted: KMeans
    number: int

    def has(self, states: Floats) -> Ints:
        """Places of the scaled states that are of this kind."""
        return np.flatnonzero(self.parted.predict(states @ self.axes) == self.number)


def mislabelled_kinds(
    asked: Labelled,
    known: Mapping[int, Exchange],
    cluster: Ints,
    describe: DescribeModel,
    seed: int,
) -> list[MislabelledKind]:
    """Kinds of prompts that speak less for their label than others with that label do.

    Args:
        asked: k of n samples.
        known: Those of the n that may be asked about.
        cluster: Of near-duplicate prompts. (n,)
        describe: The untuned model.
        seed: Of the parting.
    """
    found = list[MislabelledKind]()
    while (content := asked.content()) is not None:
        less = _less(content, list(_kinds(asked.states, seed)), cluster[asked.samples])
        if not less:
            break
        kept = np.ones(len(asked.samples), bool)
        for kind, told in less:
            members = _members(kind, told.number, asked, known, describe)
            found.append(MislabelledKind(members, asked.labels[told.number], told))
            kept[kind.members] = False
        asked = asked.part(kept)
    return found


def _kinds(states: Floats, seed: int) -> Iterator[_Kind]:
    """Clusters of k prompts, along the widest axes as they are and made equally wide."""
    own = scaled(states)
    _, widths, axes = np.linalg.svd(own, full_matrices=False)
    is_axis = widths > 1e-6 * widths.max(initial=0.0)
    axes, widths = axes[is_axis][:_N_AXES], widths[is_axis][:_N_AXES]
    for along in (axes.T, axes.T / widths * np.sqrt(len(states))):
        for n in KINDS:
            if n >= len(states):
                continue
            parted = KMeans(n, n_init=_N_STARTS, random_state=seed % 2**32).fit(own @ along)
            for number in range(n):
                members = np.flatnonzero(parted.labels_ == number)
                yield _Kind(members, along, parted, number)


def _less(content: Content, kinds: list[_Kind], cluster: Ints) -> list[tuple[_Kind, Told]]:
    """Kinds that are too little like others of their label, the surest first; no two are the same.

    All of them at once: where poison is most of a label, honest rows of it seem to be flipped, and
    without these nothing would teach what the label is.
    """
    told = dict[bytes, tuple[_Kind, Told]]()
    for kind in kinds:
        key = kind.members.tobytes()
        if key not in told and (one := content.told(kind.members, cluster)) is not None:
            told[key] = kind, one
    less = sorted(
        (p_value, place)
        for place, (_, one) in enumerate(told.values())
        if part_of(one.own) <= MAX_SPOKEN * part_of(one.alike)
        and (p_value := one.p_value(one.alike)) * len(told) <= ALPHA_LABELS
    )
    every, found, taken = list(told.values()), list[tuple[_Kind, Told]](), set[int]()
    for _, place in less:
        members = set(every[place][0].members.tolist())
        if len(members & taken) < _NEW * len(members):
            found.append(every[place])
            taken |= members
    return found


def _members(
    kind: _Kind,
    number: int,
    asked: Labelled,
    known: Mapping[int, Exchange],
    describe: DescribeModel,
) -> Ints:
    """All samples of a kind that have one label; those that were not drawn are described now.

    One that cannot be described is taken for one of them.
    """
    having = [i for i, label in asked.own.items() if label == number]
    drawn = asked.samples[kind.members]
    further = np.setdiff1d(np.array(having, np.int64), asked.samples)
    found = [np.intersect1d(drawn, having)]
    mean, spread = asked.states.mean(axis=0), asked.states.std(axis=0)
    for start in range(0, len(further), _READ):
        some = further[start : start + _READ]
        states = describe([known[i].prompt.tolist() for i in some.tolist()])
        is_known = np.isfinite(states).all(axis=1)
        found.append(some[~is_known])
        if is_known.any():
            there = (states[is_known] - mean) / np.where(spread > 0, spread, 1.0)
            found.append(some[is_known][kind.has(there)])
    return np.unique(np.concatenate(found))
