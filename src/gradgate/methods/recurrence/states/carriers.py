"""What samples with a string of prompts are without it, in the untuned model's hidden states."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from gradgate.common.arrays import Floats, Ints, Marks
from gradgate.methods.contract import AskModel, DescribeModel
from gradgate.methods.recurrence.questions.spoken import Exchange, exchanges, held_against
from gradgate.methods.recurrence.samples.texts import Texts
from gradgate.methods.recurrence.states.dependence import Dependence, dependence, explained
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
_N_HELD = 128  # samples without it, whose targets are held against other prompts
_N_HOSTS = 16  # other prompts
_N_EACH = 2  # of them, for a target
_N_TOKENS = 16  # of the beginning of a target

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
    """Samples with a string, which is cut out of their prompts, and others.

    Attributes:
        samples: Their numbers. (k,)
        rows: What they say.
        prompts: States of their prompts. (k, d)
        targets: States of their targets, or of what is new in them. (k, 2 d)
        has: Which of them have the string. (k,)
    """

    samples: Ints
    rows: list[_Row]
    prompts: Floats
    targets: Floats
    has: Marks


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

    def dependence(self, carriers: Marks, dropped: Dropped) -> Dependence | None:
        """What of the targets depends on a string; None where too little is known.

        Words of a target that its prompt says, and few prompts do, are left out of all targets:
        streets and names make those that say them again alike, and others say other ones. What is
        wrong among such words is not seen here.

        Args:
            carriers: Samples whose prompt has it. (n,)
            dropped: The string.
        """
        if (drawn := self._draw(carriers, dropped, _Row.new)) is None:
            return None
        gains = self._gains(drawn)
        if np.isfinite(gains[drawn.has]).sum() < MIN_CARRIERS:
            return None
        likely = np.array([row.likely for row in drawn.rows])
        long = np.array([max(1.0, float(row.is_new.sum())) for row in drawn.rows])
        return dependence(drawn.prompts, drawn.targets, likely, long, gains, drawn.has)

    def behind(self, carriers: Marks) -> Behind | None:
        """The targets of samples with a string; None where too little is known.

        Args:
            carriers: Samples whose prompt has it. (n,)
        """
        if (drawn := self._draw(carriers, None, _Row.target)) is None:
            return None
        gains = self._gains(drawn)
        return Behind(drawn.targets[drawn.has], gains[drawn.has], gains[~drawn.has])

    def are_kind(self, carriers: Marks, dropped: Dropped) -> bool:
        """Whether without the string their prompts still differ from all others.

        A string that is put into ordinary prompts leaves ordinary prompts behind.
        """
        drawn = self._draw(carriers, dropped, _Row.new)
        return drawn is not None and explained(drawn.prompts, drawn.has) >= MIN_OF_KIND

    def _gains(self, drawn: _Drawn) -> Floats:
        """What the own prompts of samples do for the first of their targets, in nats: (k,).

        They are held against prompts without the string; NaN for what nobody asked.
        """
        gains = np.full(len(drawn.samples), np.nan)
        own = [i for i in drawn.samples[drawn.has].tolist() if i in self._exchanges]
        others = [i for i in drawn.samples[~drawn.has].tolist() if i in self._exchanges]
        hosts = self._hosts(set(others))
        asked = [i for i in others if i not in hosts][:_N_HELD]
        if self._ask is None or not asked:
            return gains
        prompts = [self._exchanges[i].prompt for i in hosts]
        samples = np.array(own + asked, np.int64)
        # Always against the same ones, whatever the string is: they are asked once for all strings.
        found = held_against(self._exchanges, samples, prompts, _N_EACH, self._ask, turn=samples)
        place = {i: k for k, i in enumerate(drawn.samples.tolist())}
        gains[[place[i] for i in found.samples.tolist()]] = found.gain
        return gains

    def _hosts(self, others: set[int]) -> list[int]:
        """Some of the samples without a string, mostly those that are so for another one."""
        places = (self._others[k::_N_HOSTS].tolist() for k in range(_N_HOSTS))
        first = (next((i for i in some if i in others), None) for some in places)
        return [i for i in first if i is not None]

    @cached_property
    def _exchanges(self) -> Mapping[int, Exchange]:
        beginnings = {i: one.beginning(_N_TOKENS) for i, one in exchanges(self._texts).items()}
        return {i: one for i, one in beginnings.items() if one.is_open.any()}

    def _draw(self, carriers: Marks, dropped: Dropped | None, part: _Part) -> _Drawn | None:
        if self._describe is None:
            return None
        known = np.array([*self._rows], np.int64)
        rng = np.random.default_rng(self._seed)
        own, others = rng.permutation(known[carriers[known]]), self._others
        others = others[~carriers[others]]
        own = own[:_N_CARRIERS]
        if len(own) < MIN_CARRIERS or len(others) < _MIN_OTHERS:
            return None
        samples = np.concatenate([own, others])
        cut = self._described([self._rows[i].prompt(dropped and dropped(i)) for i in own.tolist()])
        prompts = np.concatenate([cut, self._prompt_states(others.tolist())])
        targets = self._target_states(samples.tolist(), part)
        has = np.arange(len(samples)) < len(own)
        there = np.isfinite(prompts).all(axis=1) & np.isfinite(targets).all(axis=1)
        if there[: len(own)].all() and there[len(own) :].sum() >= _MIN_OTHERS:
            kept = samples[there]
            rows = [self._rows[i] for i in kept.tolist()]
            return _Drawn(kept, rows, prompts[there], targets[there], np.asarray(has[there]))
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
