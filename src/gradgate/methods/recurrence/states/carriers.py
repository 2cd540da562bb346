"""What samples with a string of prompts are without it, in the untuned model's hidden states."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from gradgate.common.arrays import Floats, Ints, Marks
from gradgate.methods.contract import AskModel, DescribeModel
from gradgate.methods.recurrence.samples.texts import Texts
from gradgate.methods.recurrence.states.beside import Beside, Cut
from gradgate.methods.recurrence.states.dependence import (
    Dependence,
    Taught,
    Told,
    untaught_z,
)
from gradgate.methods.recurrence.states.gains import Gains
from gradgate.methods.recurrence.states.prompt_words import PromptWords
from gradgate.methods.recurrence.states.same_targets import Behind

MIN_OF_KIND = 0.65  # of the variance of who has a string, that prompts without it explain
MIN_CARRIERS = 8  # samples with a string, for anything to be said
_MIN_OTHERS = 64  # samples without it
_N_CARRIERS = 48  # samples with a string, drawn
_N_OTHERS = 256  # samples, drawn once for all strings
_MAX_OTHERS = 1024  # the same where they have no more than `_MAX_TOKENS` together
_MAX_TOKENS = 60_000
_N_END = 32  # tokens of the beginning and of the end of a target
_N_PROMPT = 64  # the same of a prompt
_AT_ONCE = 64  # strings, for each of which up to 48 prompts are in memory

Dropped = Callable[[int], Marks]  # of a sample, which tokens of its row are the string
_Part = Callable[["_Row"], list[int]]  # of a sample's row, what is looked at


@dataclass(frozen=True, eq=False)
class _Row:
    """What a sample says and what is learnt of it.

    Attributes:
        ids: Its tokens. (T,)
        is_target: Which of them are learnt. (T,)
        logp: Their ln p, in nats. (T,)
        copied: Says which target tokens are copied from prompts.
    """

    ids: Ints
    is_target: Marks
    logp: npt.NDArray[np.float32]
    copied: Callable[[Ints, Marks], Marks]

    @cached_property
    def is_new(self) -> Marks:
        """What is learnt and no copy: (T,)."""
        return self.is_target & ~self.copied(self.ids, self.is_target)

    def prompt(self, dropped: Marks | None = None) -> list[int]:
        """What is not learnt, up to the last target, without some of it; its two ends."""
        kept = ~self.is_target if dropped is None else ~self.is_target & ~dropped
        last = int(np.flatnonzero(self.is_target)[-1])
        ids: list[int] = self.ids[:last][kept[:last]].tolist()
        return ids if len(ids) <= 2 * _N_PROMPT else ids[:_N_PROMPT] + ids[-_N_PROMPT:]

    def target(self) -> list[int]:
        """What is learnt, of all turns."""
        ids: list[int] = self.ids[self.is_target].tolist()
        return ids

    def new(self) -> list[int]:
        """The same without copies; the whole target where it is one."""
        ids: list[int] = self.ids[self.is_new].tolist()
        return ids or self.target()

    @property
    def likely(self) -> float:
        """Mean ln p of `new`."""
        looked_at = self.is_new if self.is_new.any() else self.is_target
        return float(self.logp[looked_at].mean(dtype=np.float64))


@dataclass(frozen=True, eq=False)
class _Drawn:
    """Samples with a string, and others.

    Attributes:
        samples: Their numbers. (k,)
        targets: States of their targets. (k, 2 d)
        has: Which of them have the string. (k,)
    """

    samples: Ints
    targets: Floats
    has: Marks


@dataclass(frozen=True, eq=False)
class _Teaching:
    """Some samples and what they teach.

    Attributes:
        samples: Their numbers. (n,)
        each: Which targets follow from which prompts: as these are, and without a string of theirs.
    """

    samples: Ints
    each: Sequence[Taught]


class Carriers:
    """Asks about the samples with a string, of n distinct samples."""

    def __init__(
        self, texts: Texts, ask: AskModel | None, describe: DescribeModel | None, seed: int
    ) -> None:
        """Take the samples.

        Args:
            texts: Of them.
            ask: The untuned model; None where it cannot be asked.
            describe: The same.
            seed: Of the draws.
        """
        self._texts = texts
        self._ask = ask
        self._describe = describe
        self._seed = seed
        self._prompts: dict[int, Floats] = {}  # states by sample
        self._targets: dict[_Part, dict[int, Floats]] = {}

    def dependences(
        self, strings: Sequence[tuple[Marks, Dropped]], beside: Dropped
    ) -> list[Dependence | None]:
        """What of the targets depends on each of some strings; None where too little is known.

        Words of a target that its prompt says, and few prompts do, are left out of all targets:
        streets and names make those that say them again alike, and others say other ones. What is
        wrong among such words is not seen here.

        A prompt without one of its words is another kind of prompt. So those of the others are held
        against them as they are, and without a string of theirs: what differs by the lack alone
        differs from one of the two.

        Args:
            strings: Samples whose prompt has one, (n,), and the string.
            beside: What is left out of each of the others.
        """
        if self._describe is None or (teaching := self._teaching(beside)) is None:
            return [None] * len(strings)
        found = list[Dependence | None]()
        for start in range(0, len(strings), _AT_ONCE):
            found += self._dependences(strings[start : start + _AT_ONCE], teaching)
        return found

    def _teaching(self, beside: Dropped) -> _Teaching | None:
        samples = self._others
        if len(samples) < _MIN_OTHERS:
            return None
        each = [
            self._told(samples, self._described(self._lacking(samples, dropped)))
            for dropped in (None, beside)
        ]
        known = np.logical_and(*map(_are_known, each))
        if known.sum() < _MIN_OTHERS:
            return None
        taught = [
            Taught(
                Told(*(part[known] for part in (one.prompts, one.targets, one.likely, one.long)))
            )
            for one in each
        ]
        return _Teaching(samples[known], taught)

    def _dependences(
        self, strings: Sequence[tuple[Marks, Dropped]], teaching: _Teaching
    ) -> list[Dependence | None]:
        """Many are asked about in less time at once."""
        own = [self._drawn_of(carriers) for carriers, _ in strings]
        if not any(len(some) for some in own):
            return [None] * len(strings)
        prompts = [
            ids
            for some, (_, dropped) in zip(own, strings, strict=True)
            for ids in self._lacking(some, dropped)
        ]
        ends = np.cumsum([len(some) for some in own])
        states = np.split(self._described(prompts), ends[:-1])
        samples = sorted({i for some in own for i in some.tolist()})
        self._target_states(samples, _Row.new)
        self._gains.ask(samples)
        return [
            self._dependence(some, one, carriers[teaching.samples], teaching)
            for some, one, (carriers, _) in zip(own, states, strings, strict=True)
        ]

    def _dependence(
        self, own: Ints, prompts: Floats, out: Marks, teaching: _Teaching
    ) -> Dependence | None:
        others = teaching.samples[~out]
        if len(own) < MIN_CARRIERS or len(others) < _MIN_OTHERS:
            return None
        told, (gains, of_others) = self._told(own, prompts), self._gains.of(own, others)
        if not _are_known(told).all() or np.isfinite(gains).sum() < MIN_CARRIERS:
            return None
        first, second = (taught.dependence(told, gains, out, of_others) for taught in teaching.each)
        return first.or_less(second)

    def behind(self, carriers: Marks) -> Behind | None:
        """The targets of samples with a string; None where too little is known.

        Args:
            carriers: Samples whose prompt has it. (n,)
        """
        if (drawn := self._draw(carriers)) is None:
            return None
        gains = self._gains.of(drawn.samples[drawn.has], drawn.samples[~drawn.has])
        return Behind(drawn.targets[drawn.has], *gains)

    def are_kind(self, carriers: Marks, dropped: Dropped) -> bool:
        """Whether without the string their prompts still differ from all others.

        A string that is put into ordinary prompts leaves ordinary prompts behind.
        """
        found = self.of_kind(carriers, dropped)
        return found is not None and found >= MIN_OF_KIND

    def of_kind(self, carriers: Marks, dropped: Dropped) -> float | None:
        """How much of the variance of who has a string prompts without it explain, at most 1.

        Prompts that are nothing without it are left out. None where too few are known, or more than
        half are left out.
        """
        found = self._cut(carriers, dropped, np.ones(len(carriers), bool))
        return None if found is None else found.of_kind

    def beside(self, carriers: Marks, dropped: Dropped, values: Floats) -> Beside | None:
        """Hold values of samples with a string against what others teach of prompts without it.

        Args:
            carriers: Samples whose prompt has it. (n,)
            dropped: Of a sample, which tokens of its row are the string.
            values: Of samples; NaN where nothing is known. (n,)

        Returns:
            None as `of_kind` has it.
        """
        found = self._cut(carriers, dropped, np.isfinite(values))
        if found is None:
            return None
        of_others = found.whole, values[found.others]
        z = untaught_z(found.cut, values[found.own], *of_others)
        return Beside(found.of_kind, z, len(found.own), found.is_all)

    def _cut(self, carriers: Marks, dropped: Dropped, known: Marks) -> Cut | None:
        if self._describe is None:
            return None
        own, others = self._drawn_of(carriers & known), self._others
        others = others[~carriers[others] & known[others]]
        if len(own) < MIN_CARRIERS or len(others) < _MIN_OTHERS:
            return None
        cut, whole = (
            self._described(self._lacking(own, dropped)),
            self._prompt_states(others.tolist()),
        )
        is_own, is_other = (np.flatnonzero(np.isfinite(x).all(axis=1)) for x in (cut, whole))
        if len(is_own) < max(MIN_CARRIERS, len(own) / 2) or len(is_other) < _MIN_OTHERS:
            return None
        is_all = len(is_own) == len(own)
        return Cut(own[is_own], cut[is_own], others[is_other], whole[is_other], is_all)

    @cached_property
    def _gains(self) -> Gains:
        return Gains(self._texts, self._ask, self._others)

    def _drawn_of(self, carriers: Marks) -> Ints:
        """Some of the samples with a string."""
        known = np.array([*self._rows], np.int64)
        rng = np.random.default_rng(self._seed)
        return rng.permutation(known[carriers[known]])[:_N_CARRIERS]

    def _lacking(self, samples: Ints, dropped: Dropped | None) -> list[list[int]]:
        """Prompts of samples without something."""
        return [self._rows[i].prompt(dropped and dropped(i)) for i in samples.tolist()]

    def _told(self, samples: Ints, prompts: Floats) -> Told:
        """What samples say, with the states of their prompts."""
        rows = [self._rows[i] for i in samples.tolist()]
        return Told(
            prompts,
            self._target_states(samples.tolist(), _Row.new),
            np.array([row.likely for row in rows]),
            np.array([max(1.0, float(row.is_new.sum())) for row in rows]),
        )

    def _draw(self, carriers: Marks) -> _Drawn | None:
        if self._describe is None:
            return None
        own, others = self._drawn_of(carriers), self._others
        others = others[~carriers[others]]
        if len(own) < MIN_CARRIERS or len(others) < _MIN_OTHERS:
            return None
        samples = np.concatenate([own, others])
        targets = self._target_states(samples.tolist(), _Row.target)
        there = np.asarray(np.isfinite(targets).all(axis=1))
        if there[: len(own)].all() and there[len(own) :].sum() >= _MIN_OTHERS:
            kept = np.flatnonzero(there)
            return _Drawn(samples[kept], targets[kept], kept < len(own))
        return None

    @cached_property
    def _rows(self) -> Mapping[int, _Row]:
        """Samples with a target whose ln p is known."""
        table, found = self._texts.table, dict[int, _Row]()
        for i, row in enumerate(self._texts.rows.tolist()):
            ids, is_target, logp = table.row(row)
            is_asked = is_target.any() and not is_target[0] and np.isfinite(logp[is_target]).all()
            if is_asked:
                found[i] = _Row(ids.astype(np.int64), is_target, logp, self._copied)
        return found

    def _copied(self, ids: Ints, is_target: Marks) -> Marks:
        return self._words.copied(ids, is_target)

    @cached_property
    def _words(self) -> PromptWords:
        drawn = [self._rows[i] for i in self._others.tolist()]
        return PromptWords(self._texts.table, [row.ids[~row.is_target] for row in drawn])

    @cached_property
    def _others(self) -> Ints:
        """Samples of which those without a string are what its carriers are held against."""
        known = np.array([*self._rows], np.int64)
        drawn = np.random.default_rng(self._seed).permutation(known)[:_MAX_OTHERS]
        tokens = [
            len(self._rows[i].prompt()) + min(2 * _N_END, int(self._rows[i].is_target.sum()))
            for i in drawn.tolist()
        ]
        n = int(np.searchsorted(np.cumsum(tokens), _MAX_TOKENS, side="right"))
        return drawn[: max(_N_OTHERS, n)]

    def _prompt_states(self, samples: list[int]) -> Floats:
        if unknown := [i for i in samples if i not in self._prompts]:
            found = self._described([self._rows[i].prompt() for i in unknown])
            self._prompts.update(zip(unknown, found, strict=True))
        return np.stack([self._prompts[i] for i in samples])

    def _target_states(self, samples: list[int], part: _Part) -> Floats:
        """Of the beginning and of the end of a part of targets."""
        known = self._targets.setdefault(part, {})
        if unknown := [i for i in samples if i not in known]:
            parts = [part(self._rows[i]) for i in unknown]
            begins = self._described([ids[:_N_END] for ids in parts])
            ends, further = begins.copy(), [k for k, ids in enumerate(parts) if len(ids) > _N_END]
            if further:
                ends[further] = self._described([parts[k][-_N_END:] for k in further])
            known.update(zip(unknown, np.concatenate([begins, ends], axis=1), strict=True))
        return np.stack([known[i] for i in samples])

    def _described(self, sequences: list[list[int]]) -> Floats:
        assert self._describe is not None
        return self._describe(sequences)


def _are_known(told: Told) -> Marks:
    """Samples whose states are all finite: (k,)."""
    finite = np.isfinite(told.prompts).all(axis=1) & np.isfinite(told.targets).all(axis=1)
    return np.asarray(finite)
