"""Canaries: known attacks planted in a copy of the data, to say what a method can see in it.

What is scored for the verdict and trained on is never changed.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any, Protocol

import numpy as np
from scipy.stats import binomtest, hypergeom

from gradgate.attacks.attack import Attack
from gradgate.common.arrays import Marks
from gradgate.config import AttackName, PowerConfig, Section
from gradgate.data.sample import Sample
from gradgate.methods.checks import require_contract
from gradgate.methods.contract import Detection, Method, Scores
from gradgate.power.planting import Carriers, Copy
from gradgate.power.power import Power

ALPHA = 0.01  # that canaries are in a group by chance
MIN_RATE = 0.9  # part of the canaries of an attack that must be flagged
STEPS = (1, 3, 10)  # times `PowerConfig.min_planted`
ONE_IN = 4  # samples carries a canary, at most
MAX_TOGETHER = 3  # attacks in a copy: with more of them a method may call it a mixture of tasks


class CopyScorer(Protocol):
    """Gives the scores of a copy, with the signals that the method needs."""

    def __call__(self, samples: Sequence[Sample]) -> Scores:
        """Score samples."""


@dataclass(frozen=True, slots=True)
class _Planting:
    """What became of some canaries of one attack."""

    n_planted: int
    n_detected: int

    @property
    def is_found(self) -> bool:
        return self.n_detected >= MIN_RATE * self.n_planted


def measure(
    data: Carriers,
    method: Method[Any],
    settings: Section,
    config: PowerConfig,
    score: CopyScorer,
    reference: Iterable[Sample] | None = None,
) -> tuple[list[Power], list[str]]:
    """What a method finds of each attack, by letting it judge copies of the data.

    Rising numbers of canaries are planted, of each attack until it was found twice running; its
    figures are those of the last planting, and its smallest fraction is the smallest from which on
    it was always found. A canary counts as detected when it is flagged or in doubt and, where the
    method gives groups, lies in one that has more canaries of the attack than chance puts there
    (hypergeometric). Canaries of one attack are found together or not at all, more or less: the
    interval speaks of one planting.

    `smallest_rows` and `smallest_fraction` refer to the copy. Where that is a part of the data, the
    same number of rows is a smaller fraction of all of them.

    Args:
        data: What canaries are planted in.
        method: Is asked the same as for the verdict.
        settings: Its own.
        config: Which attacks, and how many samples.
        score: Gives the scores of a copy.
        reference: The trusted data of the verdict; can be gone through several times.

    Returns:
        The power against each attack, in the order of the configuration; and why others, or larger
        numbers of canaries, were not tried.
    """
    tried: dict[AttackName, list[_Planting]] = {attack.name: [] for attack in data.attacks}
    for n_each in _sizes(len(data.rows), config):
        unsettled = [attack for attack in data.attacks if not _is_settled(tried[attack.name])]
        for copy in _copies(data, unsettled, n_each, config.seed):
            scores = score(copy.samples)
            found = method.detect(scores, copy.samples, reference, settings)
            require_contract(method, found, scores)
            for name, ids in copy.canaries.items():
                canaries = np.array([i in ids for i in scores.sample_ids], bool) & scores.is_scored
                if canaries.sum() >= config.min_planted:
                    detected = int((_credited(found, canaries) & canaries).sum())
                    tried[name].append(_Planting(int(canaries.sum()), detected))
    return _powers(data, tried, config)


def _credited(found: Detection, canaries: Marks) -> Marks:
    """Rows flagged or in doubt; of groups, those in which canaries are not by chance: (n,)."""
    if found.flagged is None:
        return np.zeros_like(canaries)
    marked = found.flagged | found.in_doubt
    if not found.groups:
        return marked
    credited = np.zeros_like(canaries)
    for group in found.groups:
        members = marked & (found.group == group.id)
        there = int((members & canaries).sum())
        chance = hypergeom.sf(there - 1, len(canaries), int(canaries.sum()), int(members.sum()))
        if there and chance < ALPHA:
            credited |= members
    return credited


def _sizes(n: int, config: PowerConfig) -> list[int]:
    return [size for size in _numbers(config) if ONE_IN * size <= n]


def _numbers(config: PowerConfig) -> list[int]:
    return [times * config.min_planted for times in STEPS]


def _is_settled(plantings: Sequence[_Planting]) -> bool:
    return len(plantings) > 1 and all(planting.is_found for planting in plantings[-2:])


def _copies(data: Carriers, attacks: Sequence[Attack], n_each: int, seed: int) -> Iterator[Copy]:
    """As many attacks in one copy as it has room for, and a method takes for backdoors."""
    together = min(MAX_TOGETHER, len(data.rows) // (ONE_IN * n_each))
    for start in range(0, len(attacks), together):
        copy = data.plant(attacks[start : start + together], n_each, seed)
        if copy.canaries:
            yield copy


def _powers(
    data: Carriers, tried: dict[AttackName, list[_Planting]], config: PowerConfig
) -> tuple[list[Power], list[str]]:
    n, needed = len(data.rows), ONE_IN * config.min_planted
    powers = [_power(name, found, len(data.samples)) for name, found in tried.items() if found]
    if n < needed and tried:
        return powers, [
            f"no canaries were planted: {needed} distinct samples with a question are needed that "
            f"are neither flagged nor in doubt, and there are {n}"
        ]
    left_out = [name for name, plantings in tried.items() if not plantings]
    notes = [f"{name}: fewer than {config.min_planted} samples can carry it" for name in left_out]
    return powers, notes + _beyond(powers, config)


def _beyond(powers: Sequence[Power], config: PowerConfig) -> list[str]:
    """The attacks that were missed in fewer rows than would have been tried in larger data."""
    missed: dict[int, list[str]] = {}
    for power in powers:
        larger = [n for n in _numbers(config) if n > power.n_planted]
        if power.smallest_rows is None and larger:
            missed.setdefault(larger[0], []).append(power.attack)
    return [
        f"{', '.join(names)}: missed, and whether {n} rows of it would show is not known: these "
        "data have no room for so many canaries"
        for n, names in sorted(missed.items())
    ]


def _power(name: AttackName, plantings: Sequence[_Planting], n: int) -> Power:
    last = plantings[-1]
    interval = binomtest(last.n_detected, last.n_planted).proportion_ci(0.95, method="exact")
    found = list(takewhile(lambda planting: planting.is_found, reversed(plantings)))
    return Power(
        attack=name,
        n_planted=last.n_planted,
        n_detected=last.n_detected,
        rate=last.n_detected / last.n_planted,
        interval=(float(interval.low), float(interval.high)),
        smallest_rows=found[-1].n_planted if found else None,
        smallest_fraction=found[-1].n_planted / n if found else None,
    )
