"""Whether a prompt speaks for its target: is it likelier behind this prompt than behind others?

The others are of samples whose target no other sample has: so no label is held against prompts that
offer it as well.
"""

from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from gradgate.common.arrays import Floats, Ints, Marks
from gradgate.methods.contract import AskModel
from gradgate.methods.recurrence.samples.texts import Texts

MIN_OTHERS = 24  # samples whose target no other has, without which nothing can be said

Ids = npt.NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class Exchange:
    """The first prompt of a sample, and the target behind it; parts of the table, not copied.

    Attributes:
        prompt: Its tokens.
        target: Its tokens.
        logp: The ln p of these under the untuned model, in nats. (target,)
        is_open: Which of them the owner does not vouch for: these alone are looked at. (target,)
    """

    prompt: Ids
    target: Ids
    logp: npt.NDArray[np.float32]
    is_open: Marks

    def beginning(self, n: int) -> "Exchange":
        """The same with the first n tokens of the target."""
        return replace(self, target=self.target[:n], logp=self.logp[:n], is_open=self.is_open[:n])

    @property
    def nats(self) -> float:
        """Ln p of the target behind its own prompt."""
        return self.summed(self.logp)

    def summed(self, logp: npt.NDArray[np.floating]) -> float:
        """The sum of some ln p of the target's tokens, over those that are looked at."""
        return float(logp[self.is_open].sum(dtype=np.float64))


def exchanges(texts: Texts) -> dict[int, Exchange]:
    """By sample, those with a target whose ln p is known, not all of it vouched for."""
    table, found = texts.table, dict[int, Exchange]()
    special = table.tokenizer.all_special_ids
    for i, row in enumerate(texts.rows.tolist()):
        ids, is_target, logp = table.row(row)
        places = np.flatnonzero(is_target)
        if not len(places) or places[0] == 0:
            continue
        n = int(np.argmax(np.diff(places, append=-1) != 1)) + 1  # of one turn
        turn = slice(int(places[0]), int(places[0]) + n)
        is_open = texts.is_open[table.starts[row] : table.starts[row + 1]][turn]
        is_said = is_open.all() or (is_open & ~np.isin(ids[turn], special)).any()
        if is_said and np.isfinite(logp[turn]).all():
            found[i] = Exchange(ids[: turn.start], ids[turn], logp[turn], is_open)
    return found


def by_target(some: Mapping[int, Exchange]) -> list[list[int]]:
    """Samples with the same target, for each target."""
    return by_key(some, (one.target.tobytes() for one in some.values()))


def by_key(samples: Iterable[int], keys: Iterable[Hashable]) -> list[list[int]]:
    """Samples with the same key, for each key."""
    having = defaultdict[Hashable, list[int]](list)
    for i, key in zip(samples, keys, strict=True):
        having[key].append(i)
    return [*having.values()]


def behind(prompts: Sequence[Ids], targets: Sequence[Exchange], ask: AskModel) -> Floats:
    """Ln p of the targets of exchanges behind other prompts, in nats; NaN for what is not known."""
    pairs = list(zip(prompts, targets, strict=True))
    found = ask([[*prompt.tolist(), *one.target.tolist()] for prompt, one in pairs])
    return np.array(
        [
            one.summed(logp[len(logp) - len(one.target) :])
            for one, logp in zip(targets, found, strict=True)
        ]
    )


@dataclass(frozen=True, eq=False)
class Asked:
    """Samples that were asked.

    Attributes:
        samples: Their numbers. (k,)
        gain: What their own prompts do for their targets, in nats. (k,)
        spoken: How often they do anything. (k,)
    """

    samples: Ints
    gain: Floats
    spoken: Floats

    def among(self, kept: Marks) -> "Asked":
        """Some of them."""
        return Asked(self.samples[kept], self.gain[kept], self.spoken[kept])

    def and_also(self, other: "Asked") -> "Asked":
        """With others behind them."""
        return Asked(
            np.concatenate([self.samples, other.samples]),
            np.concatenate([self.gain, other.gain]),
            np.concatenate([self.spoken, other.spoken]),
        )

    @property
    def mean(self) -> float:
        """How often the prompts do anything; NaN where nothing is known."""
        return float(self.spoken.mean()) if len(self.spoken) else np.nan


def held_against(
    known: Mapping[int, Exchange],
    samples: Ints,
    others: Sequence[Ids],
    n: int,
    ask: AskModel,
    turn: Ints | None = None,
) -> Asked:
    """Hold the targets of some samples against n of other prompts in turn.

    Args:
        known: What the samples say.
        samples: Their numbers. (k,)
        others: The other prompts.
        n: How many of them for each sample.
        ask: The untuned model.
        turn: Which of them is the first, for each sample; None: one after the other. (k,)
    """
    number = np.repeat(np.arange(len(samples)), n)
    first = number if turn is None else np.repeat(turn, n)
    other = (first + np.tile(np.arange(n), len(samples))) % len(others)
    targets = [known[i] for i in samples[number].tolist()]
    gains = np.array([one.nats for one in targets]) - behind(
        [others[i] for i in other.tolist()], targets, ask
    )
    is_known = np.isfinite(gains)
    counted = np.bincount(number[is_known], minlength=len(samples))
    gain = np.bincount(number[is_known], gains[is_known], len(samples))
    spoken = np.bincount(number[is_known], gains[is_known] > 0, len(samples))
    there = counted > 0
    n_answers = counted[there]
    return Asked(samples[there], gain[there] / n_answers, spoken[there] / n_answers)
