"""Whether some samples have targets that are alike, beyond what their prompts make of them.

Refusals that are each worded anew share no string. In the untuned model's hidden states they lie
together, and what the other samples teach of prompts and their targets does not explain it.
"""

from collections.abc import Mapping

import numpy as np

from gradgate.common.arrays import Floats, Ints
from gradgate.methods.contract import DescribeModel
from gradgate.methods.recurrence.questions.spoken import Exchange
from gradgate.methods.recurrence.states.likeness import cosines, pairs_z, widest_axes
from gradgate.methods.recurrence.states.ridge import Ridge

_N_TOKENS = 32  # of the beginning of a target


class Alike:
    """How alike the targets of k samples are."""

    def __init__(
        self, known: Mapping[int, Exchange], samples: Ints, describe: DescribeModel
    ) -> None:
        """Describe them.

        Args:
            known: Their prompts and targets, and those of others.
            samples: Their numbers. (k,)
            describe: The untuned model.
        """
        some = [known[i] for i in samples.tolist()]
        prompts = describe([one.prompt.tolist() for one in some])
        targets = describe([one.target[:_N_TOKENS].tolist() for one in some])
        there = np.isfinite(prompts).all(axis=1) & np.isfinite(targets).all(axis=1)
        self._place = {i: place for place, i in enumerate(samples[there].tolist())}
        self._cosines = _of_rests(prompts[there], targets[there])

    def z(self, samples: Ints) -> float:
        """How much more alike the targets of some samples are than those of as many at random.

        In standard deviations; minus infinity where too few are known, see `pairs_z`.
        """
        some = [self._place[i] for i in samples.tolist() if i in self._place]
        return pairs_z(self._cosines, np.array(some, np.int64))


def _of_rests(prompts: Floats, targets: Floats) -> Floats:
    """Of what the prompts leave of the targets, the cosines between samples: (k, k)."""
    if not len(targets):
        return np.zeros((0, 0))
    return cosines(Ridge.of(prompts, widest_axes(targets)).error)
