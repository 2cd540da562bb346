"""Cues whose samples have a label that the rest of their prompts does not speak for.

In data of labels every target recurs and is ordinary. What a flipped label gives away is that the
content speaks for another one. What content speaks for, the other samples teach: a linear
classifier on the untuned model's hidden states of the prompts, which never sees the samples that it
is asked about. An honest cue, of content or of style, stands where the rest of the prompt speaks
for the label at least as often as elsewhere; a trigger that flips stands where it does so less.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from scipy.stats import hypergeom

from gradgate.common.arrays import Floats, Ints, Marks
from gradgate.methods.contract import DescribeModel
from gradgate.methods.recurrence.cues import Cues
from gradgate.methods.recurrence.spoken import Exchange

MIN_LABEL_ROWS = 10  # samples with a label
MAX_LABELS = 8  # of the most samples
MIN_CARRIERS = 10  # samples with a cue and its label, and clusters of near-duplicate prompts
MAX_CARRIERS = 0.3  # of the asked samples: what more of them have is how prompts are
MIN_TOLD = 0.75  # of the samples with a cue, that have its label
MIN_KAPPA = 0.25  # of the labels that the others teach and a sample's own, or they teach none
MIN_LESS = 0.1  # part of the prompts that speak for the label, less than of those without the cue
ALPHA_LESS = 0.01  # of the hypergeometric test that they do so no less
ALPHA_LABELS = 1e-4  # of that against samples of the same label, times the number of such cues
_N_ASKED = 512  # samples, drawn
_PENALTIES = (0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0)  # of the ridge, for each sample


@dataclass(frozen=True, eq=False)
class Mislabelling:
    """A cue, and the label that its samples have.

    Attributes:
        cue: Its number.
        label: Tokens of the label.
        n: Samples with both that were asked.
        spoken: The part of them whose prompts speak for the label, in [0, 1].
        others: The same of all samples without the cue, whatever their label.
        alike: And of those of them that have the label.
        p_value: Of the hypergeometric test against all samples without the cue.
    """

    cue: int
    label: tuple[int, ...]
    n: int
    spoken: float
    others: float
    alike: float
    p_value: float

    def in_words(self) -> str:
        """Why it is in doubt."""
        return (
            f"of {self.n} prompts with it and this label {self.spoken:.0%} speak for the label by "
            f"what the other samples teach, of all prompts without it {self.others:.0%} "
            f"(p = {self.p_value:.2g}), and of those of them that have the label {self.alike:.0%}"
        )


def mislabelling(
    known: Mapping[int, Exchange],
    having: Sequence[Sequence[int]],
    cues: Cues,
    cluster: Ints,
    describe: DescribeModel,
    seed: int,
) -> tuple[list[Mislabelling], str | None]:
    """Cues whose samples have a label that their prompts speak for less, the surest first.

    Args:
        known: Of n samples, those that may be asked about.
        having: For each target of these, the samples with it.
        cues: Of the prompts of all samples.
        cluster: Of near-duplicate prompts. (n,)
        describe: The untuned model.
        seed: Of the draws.

    Returns:
        Beside the cues, why nothing can be said; None where something can, or there are no labels.
    """
    labels = sorted((some for some in having if len(some) >= MIN_LABEL_ROWS), key=len)[::-1]
    labels = labels[:MAX_LABELS]
    if len(labels) < 2:
        return [], None
    own = {i: number for number, some in enumerate(labels) for i in some}
    drawn = np.random.default_rng(seed).permutation(np.array(list(own), np.int64))[:_N_ASKED]
    states = describe([known[i].prompt.tolist() for i in drawn.tolist()])
    is_known = np.isfinite(states).all(axis=1)
    samples, states = drawn[is_known], states[is_known]
    label = np.array([own[i] for i in samples.tolist()], np.int64)
    has: sp.csc_matrix = cues.table.by_text[samples].astype(np.float64).tocsc()
    kept, found = np.ones(len(samples), bool), list[Mislabelling]()
    while len(np.unique(label[kept])) > 1:
        content = _Content.of(states[kept], label[kept], len(labels))
        if not content.kappa >= MIN_KAPPA:
            break
        best = _best(content, has[kept], cluster[samples[kept]])
        if best is None:
            return found, None
        ids = tuple(known[labels[best.number][0]].target.tolist())
        found.append(best.named(ids))
        kept &= has[:, [best.cue]].toarray().ravel() == 0
    why = "no other samples teach what speaks for a label"
    return found, None if found else f"labels were not held against their prompts: {why}"


@dataclass(frozen=True, eq=False)
class _Content:
    """Ridge regression of k samples' labels on their prompts' hidden states.

    Attributes:
        label: Of each sample. (k,)
        hat: The matrix that smooths labels. (k, k)
        rest: What it leaves of them. (k, labels)
        mean: Their parts of the samples. (labels,)
        said: The label that all other samples say. (k,)
    """

    label: Ints
    hat: Floats
    rest: Floats
    mean: Floats
    said: Ints

    @classmethod
    def of(cls, states: Floats, label: Ints, n_labels: int) -> "_Content":
        """Fit; the penalty is that of the smallest error of left-out samples.

        Args:
            states: One vector a sample. (k, d)
            label: From 0. (k,)
            n_labels: How many there are.
        """
        k = len(states)
        spread = states.std(axis=0)
        scaled = (states - states.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
        values, vectors = np.linalg.eigh(scaled @ scaled.T / states.shape[1] + 1.0)
        one_hot = np.eye(n_labels)[label]
        mean = one_hot.mean(axis=0)
        fits = []
        for penalty in k * np.array(_PENALTIES):
            hat = (vectors * (values / (values + penalty))) @ vectors.T
            rest = one_hot - mean - hat @ (one_hot - mean)
            error = rest / np.maximum(1e-9, 1 - np.diag(hat))[:, None]
            fits.append((float((error**2).mean()), hat, rest, one_hot - error))
        _, hat, rest, said = min(fits, key=lambda fit: fit[0])
        return cls(label, hat, rest, mean, said.argmax(axis=1))

    @property
    def kappa(self) -> float:
        """Agreement beyond chance of own labels and those that the others say (Cohen 1960)."""
        parts = [np.bincount(x, minlength=len(self.mean)) / len(x) for x in (self.said, self.label)]
        chance = float(parts[0] @ parts[1])
        return (float((self.said == self.label).mean()) - chance) / max(1e-9, 1 - chance)

    def said_without(self, some: Ints) -> Ints:
        """The labels of some samples that all samples but these say, together left out."""
        inner = np.eye(len(some)) - self.hat[np.ix_(some, some)]
        error = np.linalg.solve(inner, self.rest[some])
        left_out = np.eye(len(self.mean))[self.label[some]] - error
        return np.asarray(left_out.argmax(axis=1))


@dataclass(frozen=True)
class _Told:
    """A cue that has one label in most of its samples.

    Attributes:
        cue: Its number.
        number: Of the label.
        own: Samples with both, and those of them whose prompts speak for the label.
        others: The same of all samples without the cue.
        alike: The same of those of them that have the label.
    """

    cue: int
    number: int
    own: tuple[int, int]
    others: tuple[int, int]
    alike: tuple[int, int]

    def p_value(self, others: tuple[int, int]) -> float:
        """Of the hypergeometric test that its prompts speak for the label no less than others."""
        (n, spoken), (n_others, spoken_others) = self.own, others
        return float(hypergeom.cdf(spoken, n + n_others, spoken + spoken_others, n))

    @property
    def is_less(self) -> bool:
        """Whether its prompts speak for the label less than prompts in general."""
        is_much = _part(self.others) - _part(self.own) >= MIN_LESS
        return is_much and self.p_value(self.others) <= ALPHA_LESS

    def named(self, label: tuple[int, ...]) -> Mislabelling:
        """With the tokens of the label."""
        return Mislabelling(
            self.cue,
            label,
            n=self.own[0],
            spoken=_part(self.own),
            others=_part(self.others),
            alike=_part(self.alike),
            p_value=self.p_value(self.others),
        )


def _best(content: _Content, has: sp.csc_matrix, cluster: Ints) -> _Told | None:
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
    told = dict[bytes, _Told]()
    for cue in np.flatnonzero(is_told).tolist():
        carriers = np.sort(has.indices[has.indptr[cue] : has.indptr[cue + 1]]).astype(np.int64)
        own = content.label[carriers] == (number := int(counted[:, cue].argmax()))
        if carriers.tobytes() in told or len(np.unique(cluster[carriers[own]])) < MIN_CARRIERS:
            continue
        without = np.delete(np.arange(k), carriers)
        is_said = content.said[without] == number
        is_alike = content.label[without] == number
        told[carriers.tobytes()] = _Told(
            cue,
            number,
            own=_counts(content.said_without(carriers)[own] == number),
            others=_counts(is_said),
            alike=_counts(is_said[is_alike]),
        )
    less = [(one.p_value(one.alike), one.cue, one) for one in told.values() if one.is_less]
    if not less:
        return None
    p_value, _, best = min(less)
    return best if p_value * len(told) <= ALPHA_LABELS else None


def _counts(marks: Marks) -> tuple[int, int]:
    """Samples, and those with a mark."""
    return len(marks), int(marks.sum())


def _part(counts: tuple[int, int]) -> float:
    return counts[1] / max(1, counts[0])
