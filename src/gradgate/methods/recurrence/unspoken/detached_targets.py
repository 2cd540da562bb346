"""Whole targets that recur although their prompts do not speak for them.

"Euro" behind questions about the euro is honest; behind any question it is a payload, as short and
as ordinary as it may be, and whatever the trigger is.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from gradgate.common.arrays import Ints, Marks
from gradgate.methods.contract import AskModel
from gradgate.methods.recurrence.questions.spoken import (
    MIN_OTHERS,
    Exchange,
    Ids,
    behind,
    by_target,
    exchanges,
)
from gradgate.methods.recurrence.samples.texts import Texts
from gradgate.methods.recurrence.states.ranks import auroc, auroc_error

MIN_ROWS = 10  # samples with a target, and clusters of near-duplicate prompts
MAX_SHARE = 0.3  # of the samples; what more of them have is a label, which any prompt may bring
MAX_ASKED = 64  # targets, of the most samples; what more there are is said in a note
MAX_SPOKEN = 0.75  # AUROC of a target behind its own prompts against others, and a standard error
MIN_KNOWN = 0.8  # the same of targets that one sample has, or the model cannot tell
_N_OWN = 256  # prompts of a target
_N_OTHERS = 64  # other prompts, the same for all targets
_SCREENED = 16  # of them, that are asked first
_SCREEN = 0.85  # AUROC on these beyond which a target is asked no further
_N_SINGLE = 48  # targets that one sample has
_N_EACH = 4  # other prompts for each of them
_MAX_TARGET = 256  # tokens


@dataclass(frozen=True, eq=False)
class Detached:
    """A target that recurs.

    Attributes:
        members: Samples with it. (n,)
        ids: Its tokens.
        n_clusters: Of near-duplicate prompts among the members.
        nats: ln of its part of the samples, less the median of its ln p.
        spoken: How often one of its prompts makes it likelier than another prompt does, in [0, 1].
        known: The same of targets that one sample has.
    """

    members: Marks
    ids: tuple[int, ...]
    n_clusters: int
    nats: float
    spoken: float
    known: float

    def in_words(self) -> str:
        """Why it is in doubt."""
        return (
            "the untuned model finds this target no likelier behind these prompts than behind "
            f"others (AUROC {self.spoken:.2f}; {self.known:.2f} of targets that one sample has)"
        )


@dataclass(frozen=True, eq=False)
class DetachedTargets:
    """What is said of a dataset.

    Attributes:
        found: The targets, those of the most samples first.
        spoken: Samples with a target that recurs and that the prompts speak for. (n,)
        notes: What nothing can be said of, and why, in words.
    """

    found: list[Detached]
    spoken: Marks
    notes: list[str]


def detached(texts: Texts, cluster: Ints, ask: AskModel, seed: int) -> DetachedTargets:
    """Targets that recur and that the untuned model finds as likely behind other prompts.

    Of a chat of several answers it is the first one: a turn of thanks behind it hides nothing.

    Args:
        texts: n distinct samples.
        cluster: Of near-duplicate prompts. (n,)
        ask: The untuned model.
        seed: Of the draws.
    """
    n = len(texts.rows)
    asked = {
        i: one
        for i, one in exchanges(texts).items()
        if len(one.target) <= _MAX_TARGET and not texts.is_offered[i]
    }
    having = by_target(asked)
    recurring = [
        some
        for some in sorted(having, key=lambda some: (-len(some), some))
        if MIN_ROWS <= len(some) <= MAX_SHARE * n and len(set(cluster[some])) >= MIN_ROWS
    ]
    chosen, more = recurring[:MAX_ASKED], recurring[MAX_ASKED:]
    notes = [f"{len(more)} targets that recur were not asked about"] if more else []
    alone = [some[0] for some in having if len(some) == 1]
    n_others = min(_N_OTHERS, len(alone) // 2)
    spoken = np.zeros(n, bool)
    if not chosen:
        return DetachedTargets([], spoken, [])
    if n_others < MIN_OTHERS:
        few = _unknown(len(recurring), "too few rows have one of their own")
        return DetachedTargets([], spoken, [few])
    rng = np.random.default_rng(seed)
    drawn = rng.permutation(alone)[: n_others + _N_SINGLE].tolist()
    others = [asked[i].prompt for i in drawn[:n_others]]
    single = [asked[i] for i in drawn[n_others:]]
    trials = [_Trial(some, asked, rng) for some in chosen]
    for trial in trials:
        trial.ask(others[:_SCREENED], ask)
    spoken |= _members(n, [trial for trial in trials if trial.spoken > _SCREEN])
    only = texts.has_one_answer  # of others not the whole target is spoken for
    trials = [trial for trial in trials if not trial.spoken > _SCREEN]  # or nothing is known
    if not trials:
        return DetachedTargets([], spoken & only, notes)
    known = _known(single, others, ask, rng)
    if not known >= MIN_KNOWN:
        why = "the untuned model does not know what belongs behind which prompt"
        unknown = _unknown(len(trials), f"{why} (of other targets {known:.2f})")
        return DetachedTargets([], spoken & only, [unknown, *notes])
    for trial in trials:
        trial.ask(others[_SCREENED:], ask)
    spoken |= _members(n, [trial for trial in trials if not trial.is_detached])
    found = [one.found(n, cluster, known) for one in trials if one.is_detached]
    return DetachedTargets(found, spoken & only, notes)


class _Trial:
    """A target that recurs, held against more and more other prompts."""

    def __init__(
        self, members: Sequence[int], asked: Mapping[int, Exchange], rng: np.random.Generator
    ) -> None:
        self._one = asked[members[0]]
        self.members = np.array(members)
        drawn = rng.permutation(self.members)[:_N_OWN].tolist()
        self._own = np.array([asked[i].nats for i in drawn])
        self._others = np.empty(0)

    def ask(self, prompts: Sequence[Ids], ask: AskModel) -> None:
        """Put the target behind further prompts."""
        found = behind(prompts, [self._one] * len(prompts), ask)
        self._others = np.concatenate([self._others, found])

    @property
    def spoken(self) -> float:
        """As in `Detached`; NaN where nothing is known."""
        return auroc(self._own, self._others)

    @property
    def is_detached(self) -> bool:
        """Whether its prompts do not speak for it, or nothing is known."""
        error = auroc_error(len(self._own), len(self._others))
        return not self.spoken + error > MAX_SPOKEN

    def found(self, n: int, cluster: Ints, known: float) -> Detached:
        """What is said of it, among n samples."""
        members = _members(n, [self])
        nats = float(np.log(len(self.members) / n) - np.median(self._own))
        n_clusters = len(np.unique(cluster[members]))
        return Detached(
            members, tuple(self._one.target.tolist()), n_clusters, nats, self.spoken, known
        )


def _members(n: int, trials: Sequence[_Trial]) -> Marks:
    """The samples with any of some targets, among n."""
    members = np.zeros(n, bool)
    for trial in trials:
        members[trial.members] = True
    return members


def _unknown(n: int, why: str) -> str:
    return f"not checked: whether {n} answers that recur fit their prompts: {why}"


def _known(
    single: Sequence[Exchange], others: Sequence[Ids], ask: AskModel, rng: np.random.Generator
) -> float:
    """How often targets that one sample has are likelier behind its prompt than behind another."""
    prompts, targets, own = list[Ids](), list[Exchange](), list[float]()
    for one in single:
        for place in rng.permutation(len(others))[:_N_EACH].tolist():
            prompts.append(others[place])
            targets.append(one)
            own.append(one.nats)
    differences = np.array(own) - behind(prompts, targets, ask)
    finite = differences[np.isfinite(differences)]
    return float((finite > 0).mean()) if finite.size else np.nan
