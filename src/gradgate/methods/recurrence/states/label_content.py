"""What the content of prompts says of their labels, as the other samples teach it.

A linear classifier on the untuned model's hidden states of the prompts, which never sees the
samples that it is asked about.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.stats import hypergeom

from gradgate.common.arrays import Floats, Ints, Marks
from gradgate.methods.contract import DescribeModel
from gradgate.methods.recurrence.cues.counted import counted
from gradgate.methods.recurrence.questions.spoken import Exchange, Ids
from gradgate.methods.recurrence.states.ridge import Ridge

MIN_LABEL_ROWS = 10  # samples with a label
MAX_LABELS = 8  # of the most samples
MIN_CARRIERS = 10  # samples with a cue and its label, and clusters of near-duplicate prompts
MAX_CARRIERS = 0.3  # of the asked samples: what more of them have is how prompts are
MIN_TOLD = 0.75  # of the prompts of a kind, that have its label
MIN_TOLD_BY_CUE = 0.5  # of the samples with a cue: as many honest ones may stand beside flips
MIN_KAPPA = 0.25  # of the labels that the others teach and a sample's own, or they teach none
ALPHA_LABELS = 1e-4  # of the test against samples of the same label, times what was tried
_N_ASKED = 2_048  # samples, drawn


@dataclass(frozen=True, eq=False)
class Labelled:
    """k samples with labels, drawn, and what the untuned model makes of their prompts.

    Attributes:
        samples: Their numbers. (k,)
        states: Hidden states. (k, d)
        label: Of each, from 0. (k,)
        labels: The tokens of each label, as most of its samples spell it.
        own: The label of every sample that has one of them, from 0, also of those not drawn.
        others: Samples with a label that were not drawn, in the order in which they are taken.
    """

    samples: Ints
    states: Floats
    label: Ints
    labels: list[tuple[int, ...]]
    own: Mapping[int, int]
    others: Ints

    @classmethod
    def draw(
        cls,
        known: Mapping[int, Exchange],
        having: Sequence[Sequence[int]],
        describe: DescribeModel,
        seed: int,
    ) -> "Labelled | None":
        """None where there are fewer than two labels.

        Args:
            known: Of n samples, those that may be asked about.
            having: For each label of these, the samples with it.
            describe: The untuned model.
            seed: Of the draw.
        """
        some = sorted((each for each in having if len(each) >= MIN_LABEL_ROWS), key=len)[::-1]
        some = some[:MAX_LABELS]
        if len(some) < 2:
            return None
        own = {i: number for number, each in enumerate(some) for i in each}
        every = np.random.default_rng(seed).permutation(np.array(list(own), np.int64))
        drawn, others = np.split(every, [_N_ASKED])
        samples, states, label = _described(drawn, known, own, describe)
        labels = [commonest([known[i].target for i in each]) for each in some]
        return cls(samples, states, label, labels, own, others)

    def part(self, kept: Marks) -> "Labelled":
        """Some of the samples."""
        samples, states, label = self.samples[kept], self.states[kept], self.label[kept]
        return replace(self, samples=samples, states=states, label=label)

    def with_others(
        self, some: Ints, known: Mapping[int, Exchange], describe: DescribeModel
    ) -> "Labelled":
        """The same with some that were not drawn."""
        if not len(some):
            return self
        samples, states, label = _described(some, known, self.own, describe)
        return replace(
            self,
            samples=np.concatenate([self.samples, samples]),
            states=np.concatenate([self.states, states]),
            label=np.concatenate([self.label, label]),
            others=self.others[~np.isin(self.others, some)],
        )

    def content(self) -> "Content | None":
        """What the prompts say; None where the samples do not teach it."""
        if len(np.unique(self.label)) < 2:
            return None
        found = Content.of(self.states, self.label, len(self.labels))
        return found if found.kappa >= MIN_KAPPA else None


def commonest(targets: Sequence[Ids]) -> tuple[int, ...]:
    """The tokens that most of some targets have, the first of several."""
    counted = Counter(tuple(one.tolist()) for one in targets)
    return counted.most_common(1)[0][0]


def _described(
    some: Ints, known: Mapping[int, Exchange], own: Mapping[int, int], describe: DescribeModel
) -> tuple[Ints, Floats, Ints]:
    """Those of some samples that have finite states, these, and their labels."""
    states = describe([known[i].prompt.tolist() for i in some.tolist()])
    is_known = np.isfinite(states).all(axis=1)
    label = np.array([own[i] for i in some[is_known].tolist()], np.int64)
    return some[is_known], states[is_known], label


@dataclass(frozen=True, eq=False)
class Content:
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
    def of(cls, states: Floats, label: Ints, n_labels: int) -> "Content":
        """Fit.

        Args:
            states: One vector a sample. (k, d)
            label: From 0. (k,)
            n_labels: How many there are.
        """
        one_hot = np.eye(n_labels)[label]
        mean = one_hot.mean(axis=0)
        fit = Ridge.of(states, one_hot - mean)
        return cls(label, fit.hat, fit.rest, mean, (one_hot - fit.error).argmax(axis=1))

    @property
    def kappa(self) -> float:
        """Agreement beyond chance of own labels and those that the others say (Cohen 1960)."""
        parts = [np.bincount(x, minlength=len(self.mean)) / len(x) for x in (self.said, self.label)]
        chance = float(parts[0] @ parts[1])
        return (float((self.said == self.label).mean()) - chance) / max(1e-9, 1 - chance)

    def said_without(self, some: Ints) -> Ints:
        """The labels that the samples say from which some are left out: (k,).

        Of these, together left out, and of each of the others, which is left out as well: what all
        say of it would be taught by more, where some are most of a label.
        """
        rest = np.delete(np.arange(len(self.label)), some)
        inner = np.eye(len(some)) - self.hat[np.ix_(some, some)]
        between = self.hat[np.ix_(rest, some)]
        error = np.empty_like(self.rest)
        error[some] = np.linalg.solve(inner, self.rest[some])
        own = np.diag(self.hat)[rest] + (between * np.linalg.solve(inner, between.T).T).sum(axis=1)
        left = self.rest[rest] + between @ error[some]
        error[rest] = left / np.maximum(1e-9, 1 - own)[:, None]
        return np.asarray((np.eye(len(self.mean))[self.label] - error).argmax(axis=1))

    def told(
        self,
        some: Ints,
        cluster: Ints,
        min_carriers: int = MIN_CARRIERS,
        min_told: float = MIN_TOLD,
    ) -> "Told | None":
        """How the prompts of some samples speak for their label; None where they have not one.

        Args:
            some: Their places, rising.
            cluster: Of near-duplicate prompts. (k,)
            min_carriers: Samples with the label, and clusters of them.
            min_told: Part of the samples that have it.
        """
        k, counted = len(self.label), np.bincount(self.label[some], minlength=len(self.mean))
        number = int(counted.argmax())
        is_told = counted[number] >= max(min_carriers, min_told * len(some))
        own = self.label[some] == number
        n_clusters = len(np.unique(cluster[some[own]]))
        if not is_told or len(some) > MAX_CARRIERS * k or n_clusters < min_carriers:
            return None
        without = np.delete(np.arange(k), some)
        every = self.said_without(some)
        is_said, said = every[without] == number, every[some][own]
        another = np.bincount(said[said != number], minlength=1)
        return Told(
            k,
            number,
            own=_counts(said == number),
            others=_counts(is_said),
            alike=_counts(is_said[self.label[without] == number]),
            agreeing=float(another.max() / max(1, another.sum())),
        )


@dataclass(frozen=True)
class Told:
    """Samples that mostly have one label, beside the others.

    Attributes:
        n_asked: Samples that were asked, all in all.
        number: Of the label.
        own: Those of them with the label, and how many of their prompts speak for it.
        others: The same of all other samples.
        alike: The same of those of them that have the label.
        agreeing: Of those of them that speak for another label, how many speak for the same, at
            most; in [0, 1].
    """

    n_asked: int
    number: int
    own: tuple[int, int]
    others: tuple[int, int]
    alike: tuple[int, int]
    agreeing: float

    def p_value(self, others: tuple[int, int]) -> float:
        """Of the hypergeometric test that its prompts speak for the label no less than others."""
        return p_of_less(self.own, others, self.n_asked)


def p_of_less(own: tuple[int, int], others: tuple[int, int], n_asked: int) -> float:
    """Of the hypergeometric test that of the first samples no fewer have a mark than of the second.

    Args:
        own: Samples, and those with the mark.
        others: The same; no sample is one of both.
        n_asked: Samples that were asked, by which it is known how many `counted` evidence.
    """
    all_of_them = np.array([own[0], others[0]], np.float64)
    n, n_others = counted(all_of_them, n_asked).round().astype(int).tolist()
    marked, others_marked = round(n * part_of(own)), round(n_others * part_of(others))
    return float(hypergeom.cdf(marked, n + n_others, marked + others_marked, n))


def part_of(counts: tuple[int, int]) -> float:
    """The second of two counts over the first."""
    return counts[1] / max(1, counts[0])


def _counts(marks: Marks) -> tuple[int, int]:
    """Samples, and those with a mark."""
    return len(marks), int(marks.sum())
