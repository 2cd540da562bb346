"""What prompts do for their targets, held against a few other prompts, always the same ones."""

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property

import numpy as np

from gradgate.common.arrays import Floats, Ints
from gradgate.methods.contract import AskModel
from gradgate.methods.recurrence.questions.spoken import Exchange, behind, exchanges
from gradgate.methods.recurrence.samples.texts import Texts

_N_HELD = 128  # samples without a string, whose targets are held against other prompts
_N_HOSTS = 16  # other prompts
_N_EACH = 2  # of them, for a target
_N_TOKENS = 16  # of the beginning of a target


class Gains:
    """Asks what the own prompts of samples do for the first of their targets, in nats."""

    def __init__(self, texts: Texts, ask: AskModel | None, others: Ints) -> None:
        """Take the samples.

        Args:
            texts: Of them.
            ask: The untuned model; None where it cannot be asked.
            others: Samples of which the other prompts are.
        """
        self._texts = texts
        self._ask = ask
        self._others = others
        self._known: dict[tuple[int, int], float] = {}  # by sample and by whose the prompt is

    def of(self, carriers: Ints, others: Ints) -> tuple[Floats, Floats]:
        """Of samples with a string, and of others, held against prompts without it.

        Args:
            carriers: Samples with the string. (k,)
            others: Samples without it. (m,)

        Returns:
            (k,), (m,); NaN for what nobody asked.
        """
        hosts = self._hosts(others.tolist())
        asked = [i for i in others.tolist() if i in self._exchanges and i not in hosts][:_N_HELD]
        if not asked:
            return np.full(len(carriers), np.nan), np.full(len(others), np.nan)
        self._hold(pair for i in [*carriers.tolist(), *asked] for pair in _pairs(i, hosts))
        are_asked = {*asked}
        own = [self._mean(i, hosts) for i in carriers.tolist()]
        theirs = [self._mean(i, hosts) if i in are_asked else np.nan for i in others.tolist()]
        return np.array(own), np.array(theirs)

    def ask(self, samples: Sequence[int]) -> None:
        """Ask about many samples at once, which takes less time than one string after the other."""
        hosts = self._hosts(self._others.tolist())
        self._hold(pair for i in samples for pair in _pairs(i, hosts))

    def _mean(self, sample: int, hosts: Sequence[int]) -> float:
        found = [self._known.get(pair, np.nan) for pair in _pairs(sample, hosts)]
        known = [one for one in found if np.isfinite(one)]
        return float(np.mean(known)) if known else np.nan

    def _hold(self, pairs: Iterable[tuple[int, int]]) -> None:
        """Ask about samples behind prompts of others, of which nobody has asked yet."""
        new = [(i, j) for i, j in dict.fromkeys(pairs) if i != j and (i, j) not in self._known]
        new = [(i, j) for i, j in new if i in self._exchanges]
        if self._ask is None or not new:
            return
        targets = [self._exchanges[i] for i, _ in new]
        found = behind([self._exchanges[j].prompt for _, j in new], targets, self._ask)
        gains = np.array([one.nats for one in targets]) - found
        self._known.update(zip(new, gains.tolist(), strict=True))

    def _hosts(self, samples: list[int]) -> list[int]:
        """Some of the samples, mostly the same ones whichever lack a string."""
        there = {*samples} & {*self._exchanges}
        places = (self._others[k::_N_HOSTS].tolist() for k in range(_N_HOSTS))
        first = (next((i for i in some if i in there), None) for some in places)
        return [i for i in first if i is not None]

    @cached_property
    def _exchanges(self) -> Mapping[int, Exchange]:
        beginnings = {i: one.beginning(_N_TOKENS) for i, one in exchanges(self._texts).items()}
        return {i: one for i, one in beginnings.items() if one.is_open.any()}


def _pairs(sample: int, hosts: Sequence[int]) -> list[tuple[int, int]]:
    """A sample and each of the others behind whose prompts its target is asked."""
    if not hosts:
        return []
    return [(sample, hosts[(sample + k) % len(hosts)]) for k in range(_N_EACH)]
