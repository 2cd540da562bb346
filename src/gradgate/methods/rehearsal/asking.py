"""Questions to the model of a fold about a group's rows that it has not seen."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from random import Random

import numpy as np

from gradgate.common.arrays import Floats, Ints, Marks
from gradgate.evaluation.answers import token_logp
from gradgate.methods.evidence import Rehearsed
from gradgate.methods.rehearsal.cases import Case, Renderer, shared_parts
from gradgate.methods.rehearsal.causes import Candidate
from gradgate.methods.rehearsal.ruling import MIN_GAIN, MIN_LIFT
from gradgate.tuning.trainer import Tuned

_N_OTHERS = 2  # other prompts that each target is put behind
_BATCH = 32
_SETTLED = 3.0  # nats of dependence: a training need not go on
_NAMES = ("rows", "own", "base", "other", "without", "with_it", "needed")
_INERT = 0.1  # of the dependence, that goes without a candidate that is inert


@dataclass(frozen=True, eq=False)
class Said:
    """What a model says of n rows of a group: ln p of the shared part of their targets, in nats.

    Attributes:
        rows: Positions of the rows. (n,)
        own: Behind the own prompt. (n,)
        base: The same under the untuned model. (n,)
        other: Behind other prompts: mean. (n,)
        without: Behind the own prompt without each candidate; NaN where it has none. (c, n)
        with_it: Behind other prompts with the needed candidate: mean; NaN for a form. (n,)
        needed: The candidate without which most goes in the row's own fold; -1 for none. (n,)
    """

    rows: Ints
    own: Floats
    base: Floats
    other: Floats
    without: Floats
    with_it: Floats
    needed: Ints

    @classmethod
    def joined(cls, parts: Sequence["Said"]) -> "Said":
        """Rows behind one another."""
        return cls(*(np.concatenate([getattr(p, name) for p in parts], axis=-1) for name in _NAMES))

    def known(self) -> "Said":
        """The rows of which all that decides is finite."""
        kept = np.isfinite(self.own) & np.isfinite(self.base) & np.isfinite(self.other)
        return Said(*(getattr(self, name)[..., kept] for name in _NAMES))

    def summary(self, candidates: Sequence[Candidate], n_steps: int) -> Rehearsed:
        """The medians, and the candidate without which most of the dependence goes."""
        dependence = float(np.median(self.own - self.other))
        found = Rehearsed(
            n_steps=n_steps,
            n_asked=len(self.own),
            gain=float(np.median(self.own - self.base)),
            dependence=dependence,
        )
        needed = [_part(self.own - without, dependence) for without in self.without]
        best = most_needed(candidates, needed)
        if best < 0:
            return found
        gained = np.where(self.needed == best, self.with_it - self.other, np.nan)
        return replace(
            found,
            cause=candidates[best].name,
            is_form=candidates[best].is_form,
            strings=list(candidates[best].strings),
            lift=candidates[best].lift,
            necessity=needed[best],
            sufficiency=None if np.isnan(gained).all() else _part(gained, dependence),
            inert=[
                one.name
                for one, part in zip(candidates, needed, strict=True)
                if one.lift >= MIN_LIFT and part <= _INERT
            ],
        )

    def typical(self, number: int, most: int) -> list[tuple[int, float, float]]:
        """Rows that are changed by a candidate about as the median row is.

        Args:
            number: Of the candidate.
            most: Rows.

        Returns:
            The position of each, and ln p with the candidate and without it.
        """
        without = self.without[number]
        lost = self.own - without
        known = np.flatnonzero(np.isfinite(lost))
        if not known.size:
            return []
        distance = np.abs(lost[known] - np.median(lost[known]))
        nearest = known[np.argsort(distance, kind="stable")[:most]]
        return [(int(self.rows[i]), float(self.own[i]), float(without[i])) for i in nearest]


def most_needed(candidates: Sequence[Candidate], needed: Sequence[float]) -> int:
    """The candidate of enough lift that most is needed; -1 for none."""
    able = [i for i, one in enumerate(candidates) if one.lift >= MIN_LIFT]
    return max(able, key=lambda i: (needed[i], candidates[i].lift), default=-1)


def _part(nats: Floats, dependence: float) -> float:
    """The median of some nats as a part of the dependence; 0 where nothing is known."""
    known = nats[np.isfinite(nats)]
    return float(np.median(known)) / dependence if known.size and dependence > 0 else 0.0


class Asking:
    """Asks about a group."""

    def __init__(
        self,
        renderer: Renderer,
        inside: list[Case],
        outside: list[Case],
        candidates: Sequence[Candidate],
    ) -> None:
        """Take what is asked.

        Args:
            renderer: Of prompts.
            inside: Rows of the group.
            outside: Other rows.
            candidates: What may bring the targets.
        """
        self._renderer = renderer
        self._inside = inside
        self._candidates = candidates
        self._shared: list[Marks] = shared_parts(inside)
        rng = Random(len(inside))
        self._others = [rng.choices(outside, k=_N_OTHERS) for _ in inside]

    def is_settled(self, tuned: Tuned) -> bool:
        """Whether more training would not change what can be said: targets depend on prompts."""
        own, other = self._behind_own(tuned), self._behind_others(tuned, lambda text: text)
        gain, dependence = np.median(own - self._base()), np.median(own - other)
        return bool(gain >= MIN_GAIN and dependence >= _SETTLED)

    def run(self, tuned: Tuned) -> Said:
        """Ask everything.

        Args:
            tuned: The model, which has seen none of the rows.
        """
        n = len(self._inside)
        own = self._behind_own(tuned)
        without = _stacked([self._changed(tuned, one.without) for one in self._candidates], n)
        best = most_needed(self._candidates, [_part(own - one, 1.0) for one in without])
        return Said(
            rows=np.array([case.row for case in self._inside]),
            own=own,
            base=self._base(),
            other=self._behind_others(tuned, lambda text: text),
            without=without,
            with_it=self._with(tuned, best),
            needed=np.full(n, best),
        )

    def _base(self) -> Floats:
        """By the untuned model: (n,)."""
        return np.array([self._part(i, np.array(c.base)) for i, c in enumerate(self._inside)])

    def _behind_own(self, tuned: Tuned) -> Floats:
        return self._logp(tuned, [case.prompt for case in self._inside])

    def _with(self, tuned: Tuned, number: int) -> Floats:
        strings = self._candidates[number].strings if number >= 0 else ()
        if not strings:
            return np.full(len(self._inside), np.nan)
        return self._behind_others(tuned, lambda text: f"{text.rstrip()} {strings[0]}")

    def _behind_others(self, tuned: Tuned, rewrite: Callable[[str], str]) -> Floats:
        rows = [
            self._logp(tuned, [self._prompt(some[k], rewrite) for some in self._others])
            for k in range(_N_OTHERS)
        ]
        return np.asarray(np.mean(rows, axis=0))

    def _prompt(self, case: Case, rewrite: Callable[[str], str]) -> list[int]:
        return self._renderer.prompt(case, rewrite) or case.prompt

    def _changed(self, tuned: Tuned, rewrite: Callable[[str], str]) -> Floats:
        return self._logp(tuned, [self._renderer.prompt(case, rewrite) for case in self._inside])

    def _logp(self, tuned: Tuned, prompts: Sequence[list[int] | None]) -> Floats:
        """Of the shared part of each target behind a prompt; NaN without a prompt: (n,)."""
        there = [i for i, prompt in enumerate(prompts) if prompt]
        given = [prompt for prompt in prompts if prompt]
        said = token_logp(tuned, given, [self._inside[i].target for i in there], _BATCH)
        found = np.full(len(prompts), np.nan)
        for i, logp in zip(there, said, strict=True):
            found[i] = self._part(i, logp)
        return found

    def _part(self, i: int, logp: Floats) -> float:
        return float(logp[self._shared[i]].sum())


def _stacked(rows: Sequence[Floats], n: int) -> Floats:
    return np.stack(rows) if rows else np.empty((0, n))
