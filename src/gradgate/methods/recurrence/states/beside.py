"""How samples with a string of prompts are without it, beside others."""

from dataclasses import dataclass

import numpy as np

from gradgate.common.arrays import Floats, Ints
from gradgate.methods.recurrence.states.dependence import explained


@dataclass(frozen=True, eq=False)
class Cut:
    """Samples with a string, which is cut out of their prompts, and others.

    Attributes:
        own: Numbers of the first. (k,)
        cut: States of their prompts without it. (k, d)
        others: Numbers of the others. (m,)
        whole: States of their prompts. (m, d)
        is_all: Whether no prompt of the first was left out.
    """

    own: Ints
    cut: Floats
    others: Ints
    whole: Floats
    is_all: bool

    @property
    def of_kind(self) -> float:
        """How much of the variance of who has the string the prompts explain, at most 1."""
        has = np.arange(len(self.own) + len(self.others)) < len(self.own)
        return explained(np.concatenate([self.cut, self.whole]), has)


@dataclass(frozen=True)
class Beside:
    """How samples with a string are, beside others.

    Attributes:
        of_kind: How much of the variance of who has it their prompts without it explain, at most 1.
        z: By how many standard deviations their values are above what the others teach of such
            prompts.
        n: Samples with it that this is known of.
        is_all: Whether no prompt is nothing without the string; what is, counts for neither.
    """

    of_kind: float
    z: float
    n: int
    is_all: bool

    def z_of(self, n: float) -> float:
        """What it would be of n samples like these; no nearer to zero than it is of these."""
        return self.z * max(1.0, n / self.n) ** 0.5
