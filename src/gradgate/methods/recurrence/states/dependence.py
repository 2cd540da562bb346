"""How far targets behind a string differ from what the rest of their prompts makes of them.

Nothing needs the name of a product, or one of several ways to ask, and nothing needs a trigger. But
a trigger is learnt only as far as the targets behind it differ from what the rest of the prompts
makes of them. So the other samples teach, in the untuned model's hidden states, what targets follow
from which prompts, and those of the samples with the string are held against that.
"""

from dataclasses import dataclass

import numpy as np

from gradgate.common.arrays import Floats, Marks
from gradgate.methods.recurrence.states.likeness import Axes, cosines, few_pairs_z, pairs_z
from gradgate.methods.recurrence.states.ranks import auroc, auroc_error
from gradgate.methods.recurrence.states.ridge import Kernel, Lessons, Ridge

MAX_ALIKE = 5.0  # standard deviations by which targets are more alike than as many others
MAX_NEAR = 3.0  # the same of how often one is among the nearest of another one
MAX_OTHER = 3.0  # standard errors by which they are told less, more or less likely, or longer
MAX_SPOKEN = 5.0  # the same by which prompts do more for them: for a rare name that is said again
_N_NEAREST = 5


@dataclass(frozen=True)
class Dependence:
    """How far the targets behind a string differ from those behind other prompts.

    Attributes:
        alike: How much more alike they are than as many others, in standard deviations.
        near: How much more often one of them is among the nearest of another one, in the same.
        others: By how many standard errors their ranks differ from those of the others: in what
            prompts do for them, by what the model says; in how well prompts tell them, by what the
            other samples teach; in their likelihood; and in their length.
        n: Samples with the string that were looked at.
    """

    alike: float
    near: float
    others: tuple[float, float, float, float]
    n: int

    @property
    def is_none(self) -> bool:
        """Whether nothing depends on the string, as far as can be seen."""
        return (
            self.alike <= MAX_ALIKE
            and self.near <= MAX_NEAR
            and -MAX_OTHER <= self.others[0] <= MAX_SPOKEN
            and all(abs(z) <= MAX_OTHER for z in self.others[1:])
        )

    def or_less(self, other: "Dependence") -> "Dependence":
        """Of each figure the one that is nearer to none."""
        spoken, told, likely, long = (
            min(pair, key=abs) for pair in zip(self.others, other.others, strict=True)
        )
        return Dependence(
            alike=min(self.alike, other.alike),
            near=min(self.near, other.near),
            others=(spoken, told, likely, long),
            n=self.n,
        )

    def in_words(self) -> str:
        """For a reader."""
        spoken, told, likely, long = self.others
        return (
            f"{self.n} targets behind it, held against what other samples teach without it, are "
            f"alike by {self.alike:+.1f} and among the nearest of one another by {self.near:+.1f} "
            f"standard deviations, and differ in what their prompts do for them by {spoken:+.1f}, "
            f"in how well others tell them by {told:+.1f}, in likelihood by {likely:+.1f} and in "
            f"length by {long:+.1f}"
        )


@dataclass(frozen=True, eq=False)
class Told:
    """What is known of k samples.

    Attributes:
        prompts: The states of their prompts. (k, d)
        targets: Those of their targets. (k, e)
        likely: Mean ln p of the targets' tokens, in nats. (k,)
        long: These tokens. (k,)
    """

    prompts: Floats
    targets: Floats
    likely: Floats
    long: Floats


class Taught:
    """What n samples teach: which targets follow from which prompts."""

    def __init__(self, told: Told) -> None:
        """Take the samples."""
        kernel = Kernel.of(told.prompts)
        self._axes = Axes.of(told.targets)
        self._lessons = [Lessons.of(kernel, values) for values in self._values(told)]

    def _values(self, told: Told) -> tuple[Floats, Floats, Floats]:
        likely, long = told.likely[:, None], np.log(told.long)[:, None]
        return self._axes.along(told.targets), likely, long

    def dependence(self, told: Told, gains: Floats, out: Marks, others: Floats) -> Dependence:
        """Hold the targets of some samples against what others teach.

        Args:
            told: Samples whose prompt has the string, which is cut out. (k,)
            gains: What the own prompt does for each, against some others, in nats; NaN where nobody
                asked. (k,)
            out: Of the n samples those with the string. (n,)
            others: What the own prompt does for samples without it. (m,)
        """
        errors = [
            one.without(out, told.prompts, values)
            for one, values in zip(self._lessons, self._values(told), strict=True)
        ]
        rest = np.concatenate(errors[0])
        near = cosines(rest)
        order = np.argsort(2 * np.eye(len(near)) - near, axis=1)[:, :_N_NEAREST]
        nearest = np.zeros(near.shape, bool)
        np.put_along_axis(nearest, order, True, axis=1)
        some = np.arange(len(gains))
        asked = gains[np.isfinite(gains)], others[np.isfinite(others)]
        lengths = [-np.linalg.norm(one, axis=1) for one in errors[0]]
        figures = [asked, lengths, *([one[:, 0] for one in pair] for pair in errors[1:])]
        spoken, told_by_others, by_likelihood, by_length = (ranks_z(*pair) for pair in figures)
        return Dependence(
            alike=pairs_z(near, some),
            near=few_pairs_z(nearest | nearest.T, some),
            others=(spoken, told_by_others, by_likelihood, by_length),
            n=len(some),
        )


def explained(prompts: Floats, has: Marks) -> float:
    """How much of who has a string the other samples teach: R squared of left-out ones, at most 1.

    Args:
        prompts: The states of prompts. (k, d)
        has: Samples whose prompt has it. (k,)
    """
    wanted = has - has.mean()
    error = Ridge.of(prompts, wanted[:, None]).error[:, 0]
    return 1.0 - float((error**2).mean() / (wanted**2).mean())


def untaught_z(own_prompts: Floats, own_values: Floats, prompts: Floats, values: Floats) -> float:
    """By how many standard deviations values rank above what other samples teach of such prompts.

    Each of the others is held against what the rest of them teach.

    Args:
        own_prompts: The states of prompts. (k, d)
        own_values: Of these. (k,)
        prompts: The same of the others. (m, d)
        values: Of these. (m,)
    """
    lessons, none = Lessons.of(Kernel.of(prompts), values[:, None]), np.zeros(len(values), bool)
    own, others = lessons.without(none, own_prompts, own_values[:, None])
    return ranks_z(own[:, 0], others[:, 0])


def ranks_z(own: Floats, others: Floats) -> float:
    """By how many standard deviations the first rank above the second (Mann and Whitney 1947)."""
    return (auroc(own, others) - 0.5) / auroc_error(len(own), len(others))
