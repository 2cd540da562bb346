"""Cues in whose prompts nothing speaks for the targets, although other prompts speak for theirs.

A trigger takes the place of what is asked: whatever it brings, one answer, several, or wrong ones,
what the rest of the prompt says no longer decides. Where the targets are alike as well, in other
words each time, fewer samples prove it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import scipy.sparse as sp
from scipy.stats import norm, rankdata

from gradgate.common.arrays import Floats, Ints, Marks
from gradgate.methods.contract import AskModel, DescribeModel
from gradgate.methods.recurrence.cues.candidates import Cues
from gradgate.methods.recurrence.cues.further import further_carriers
from gradgate.methods.recurrence.questions.spoken import (
    MIN_OTHERS,
    Asked,
    Exchange,
    by_target,
    exchanges,
    held_against,
)
from gradgate.methods.recurrence.samples.texts import Texts
from gradgate.methods.recurrence.states.alike import Alike
from gradgate.methods.recurrence.states.ranks import rank_sum_z

MIN_ASKED = 10  # samples with a cue that were asked, and clusters of near-duplicate prompts
MAX_HELD = 0.6  # of the asked samples: what more of them have is how prompts are
MAX_SPOKEN = 0.65  # of the answers on samples with a cue, that are likelier behind their own prompt
MAX_OPEN = 0.75  # the same, where these are no likelier than behind other prompts with the cue
MAX_NARROW = 0.3  # of the asked samples: what more of them have is a kind of prompt, as remarks are
MAX_SPOKEN_WIDE = 0.5  # of the answers on samples with such a cue
MAX_AMONG = 0.65  # of the answers that are
MIN_SPOKEN = 0.8  # the same of the others, or the model does not know what belongs to a prompt
ALPHA = 1e-6  # of a rank-sum test, after Bonferroni's correction over all cues
MIN_ALIKE = 10.0  # standard deviations by which targets are more alike than as many at random
ALPHA_ALIKE = 0.05  # as `ALPHA`, where the targets are alike
MAX_SPOKEN_ALIKE = 0.85  # as `MAX_OPEN`
MIN_SPOKEN_BESIDE = 0.7  # as `MIN_SPOKEN`
_N_ASKED = 512  # samples, drawn
_N_FIRST = 64  # of them, that are asked first
_MIN_FIRST = 0.7  # of their targets, likelier behind their own prompt; else no more is asked
_N_OTHERS = 16  # other prompts, the same for all samples
_N_EACH = 2  # of them, for a sample
_N_TOKENS = 16  # of the beginning of a target
_N_AMONG = 64  # samples with a cue that are held against one another
_N_EACH_AMONG = 4  # others for each of them
_MAX_LOOKS = 32  # at cues, by asking; what more there are is in doubt unasked


@dataclass(frozen=True, eq=False)
class Detaching:
    """A cue.

    Attributes:
        cue: Its number.
        spoken: How often its samples' targets are likelier behind their own prompt, in [0, 1].
        others: The same of samples without it.
        n_asked: Of its samples.
        p_value: Of the rank-sum test, times the number of cues.
        alike: How alike the targets are, in standard deviations; None where that was not asked.
        among: As `spoken`, against other prompts with the cue; None where that was not asked.
    """

    cue: int
    spoken: float
    others: float
    n_asked: int
    p_value: float
    alike: float | None = None
    among: float | None = None

    def in_words(self) -> str:
        """Why it is in doubt."""
        among = "" if self.among is None else f", than another with it {self.among:.0%}"
        return (
            f"of {self.n_asked} prompts with it that were asked, {self.spoken:.0%} make their "
            f"target likelier than another prompt does{among}; of prompts without it "
            f"{self.others:.0%} (p = {self.p_value:.2g}){self._alike_in_words()}"
        )

    def _alike_in_words(self) -> str:
        if self.alike is None:
            return ""
        return (
            "; their targets are alike in what they say, by "
            f"{self.alike:.0f} standard deviations of as many others"
        )


@dataclass(frozen=True, eq=False)
class DetachingCues:
    """What is said of a dataset.

    Attributes:
        found: The cues, the surest first.
        note: Why nothing can be said of cues, in words; None where something can.
    """

    found: list[Detaching]
    note: str | None = None


def detaching(
    texts: Texts,
    cues: Cues,
    cluster: Ints,
    asked: Marks,
    ask: AskModel,
    describe: DescribeModel | None,
    seed: int,
) -> DetachingCues:
    """Cues whose prompts say less about their targets than other prompts do, the surest first.

    Args:
        texts: n distinct samples.
        cues: Of their prompts.
        cluster: Of near-duplicate prompts. (n,)
        asked: Samples that may be asked about. (n,)
        ask: The untuned model.
        describe: The same; None where it cannot be asked whether targets are alike.
        seed: Of the draws.
    """
    whole = exchanges(texts)
    beginnings = {i: one.beginning(_N_TOKENS) for i, one in whole.items() if asked[i]}
    known = {i: one for i, one in beginnings.items() if one.is_open.any()}
    having = by_target(known)
    alone = [some[0] for some in having if len(some) == 1]
    if len(alone) < MIN_OTHERS:
        return DetachingCues([], _unknown("too few rows have a target of their own"))
    rng = np.random.default_rng(seed)
    drawn = rng.permutation(alone)[:_N_OTHERS].tolist()
    others = [known[i].prompt for i in drawn]
    samples, further = np.split(rng.permutation([i for i in known if i not in drawn]), [_N_ASKED])
    first = held_against(known, samples[:_N_FIRST], others, _N_EACH, ask)
    if not first.mean >= _MIN_FIRST:
        why = "the untuned model does not know what belongs behind which prompt"
        return DetachingCues([], _unknown(f"{why} ({first.mean:.0%} of targets)"))
    rest = held_against(known, samples[_N_FIRST:], others, _N_EACH, ask)
    search = _Search(first.and_also(rest), cues, cluster)
    unsure = held_against(known, search.of_unsure_cues(further), others, _N_EACH, ask)
    search = _Search(search.asked.and_also(unsure), cues, cluster)
    found = _found(search, search.best, known, ask)
    if describe is not None and search.may_be_alike():
        alike = Alike(whole, search.asked.samples, describe)
        found += _found(search, lambda: search.best_alike(alike), known, ask)
    return DetachingCues(found)


def _found(
    search: "_Search",
    best_of: Callable[[], Detaching | None],
    known: Mapping[int, Exchange],
    ask: AskModel,
) -> list[Detaching]:
    """The best cue as long as there is one, each time without the samples of those before."""
    found, n_looks = list[Detaching](), 0
    while (best := best_of()) is not None:
        carriers = search.carriers(best.cue)
        if best.spoken > MAX_SPOKEN and n_looks < _MAX_LOOKS:
            n_looks += 1
            best = replace(best, among=_among(known, carriers[:_N_AMONG], ask))
        if best.among is None or not best.among > MAX_AMONG:
            found.append(best)
            search.leave_out(carriers)
        else:
            search.pass_over(best.cue)
    return found


def _unknown(why: str) -> str:
    return f"not checked: whether words of prompts bring answers of their own: {why}"


def _among(known: Mapping[int, Exchange], carriers: Ints, ask: AskModel) -> float:
    """How often targets are likelier behind their own prompt than behind others with the cue."""
    hosts, rest = np.split(carriers, [_N_OTHERS])
    prompts = [known[i].prompt for i in hosts.tolist()]
    n = min(_N_EACH_AMONG, len(prompts) - 1)
    asked = held_against(known, hosts, [*prompts[1:], prompts[0]], n, ask)  # none behind its own
    return asked.and_also(held_against(known, rest, prompts, n, ask)).mean


@dataclass(frozen=True, eq=False)
class _Compared:
    """The samples of each cue, held against the others.

    Attributes:
        n: Samples. (C,)
        spoken: How often their prompts do anything for their targets. (C,)
        others: The same of samples without the cue that are not of the kind that is told less. (C,)
        z: Standard scores of the rank-sum test. (C,)
        p_values: Times the number of cues. (C,)
        passes: What no chance explains, where the model knows what belongs to a prompt. (C,)
        may_be_alike: Cues of some samples that would pass where their targets are alike. (C,)
    """

    n: Floats
    spoken: Floats
    others: Floats
    z: Floats
    p_values: Floats
    passes: Marks
    may_be_alike: Marks


class _Search:
    """Cues among samples that were asked."""

    def __init__(self, asked: Asked, cues: Cues, cluster: Ints) -> None:
        self.asked = asked
        self._has: sp.csr_matrix = cues.table.by_text[asked.samples].astype(np.float64)
        self._cues, self._cluster = cues, cluster
        self._passed_over = np.zeros(len(cues.nats), bool)

    def of_unsure_cues(self, further: Ints) -> Ints:
        """Samples with cues that too few were asked of.

        Args:
            further: Samples that were not drawn, in the order in which they are taken.
        """
        compared = self._of_all()
        is_telling = compared.spoken <= MAX_SPOKEN_ALIKE
        is_telling &= compared.others >= MIN_SPOKEN_BESIDE
        return further_carriers(compared.n, compared.p_values, is_telling, self._cues, further)

    def carriers(self, cue: int) -> Ints:
        """Samples with a cue."""
        return self.asked.samples[self._marks(cue)]

    def leave_out(self, samples: Ints) -> None:
        """Look for further cues in the others."""
        kept = ~np.isin(self.asked.samples, samples)
        self.asked, self._has = self.asked.among(kept), self._has[kept]

    def pass_over(self, cue: int) -> None:
        """Look for cues of other samples."""
        has = self._has[:, [cue]].toarray().ravel()
        n, both = np.asarray(self._has.sum(0)).ravel(), self._has.T @ has
        self._passed_over |= (both == has.sum()) & (n == has.sum())

    def best(self) -> Detaching | None:
        """The cue with the smallest p-value that passes; of equal ones what looks inserted.

        A cue of many samples is a kind of prompt: where its samples are told less than others, and
        not because of the surest of the other cues, these are compared within the kind and without.
        """
        if not self._has.shape[1]:
            return None
        compared, everything = self._of_all(), np.ones(len(self.asked.samples), bool)
        wide = compared.n > MAX_NARROW * len(everything)
        held = wide & (compared.n <= MAX_HELD * len(everything))
        is_told = compared.passes & (compared.spoken <= MAX_SPOKEN_WIDE)
        found = self._first(compared, held & is_told)
        if found is not None:
            return found
        surest = int(np.argmin(np.where(wide | (compared.n < MIN_ASKED), np.inf, compared.z)))
        rest = self._compared(~self._marks(surest), ~everything)
        kinds = np.flatnonzero(wide & compared.passes & rest.passes)
        if len(kinds):
            kind = self._marks(int(kinds[np.argmin(rest.z[kinds])]))
            compared = self._compared(everything, kind)
        return self._first(compared, compared.passes & ~wide & (compared.spoken <= MAX_OPEN))

    def may_be_alike(self) -> bool:
        """Whether there is a cue of which it matters whether its targets are alike."""
        return bool(self._of_all().may_be_alike.any())

    def best_alike(self, alike: Alike) -> Detaching | None:
        """The cue with the smallest p-value whose targets are alike."""
        compared = self._of_all()
        wanted = compared.may_be_alike
        while (found := self._first(compared, wanted)) is not None:
            z = alike.z(self.carriers(found.cue))
            if z >= MIN_ALIKE:
                return replace(found, alike=z)
            self.pass_over(found.cue)
        return None

    def _of_all(self) -> _Compared:
        everything = np.ones(len(self.asked.samples), bool)
        return self._compared(everything, ~everything)

    def _marks(self, cue: int) -> Marks:
        found: Marks = self._has[:, [cue]].toarray().ravel() > 0
        return found

    def _compared(self, kept: Marks, kind: Marks) -> _Compared:
        """The samples of every cue against the others, of their kind; those that are kept."""
        asked, has, kind = self.asked.among(kept), self._has[kept], kind[kept]
        gain = asked.gain.copy()
        for marks in (kind, ~kind):
            gain[marks] -= np.median(gain[marks]) if marks.any() else 0.0
        n, k = np.asarray(has.sum(0), np.float64).ravel(), len(gain)
        z = rank_sum_z(has.T @ rankdata(gain), n, k)
        p_values = norm.cdf(z) * max(1, len(n))
        told = np.where(kind, 0.0, asked.spoken)
        spoken = (has.T @ asked.spoken) / np.maximum(n, 1)
        others = (told.sum() - has.T @ told) / np.maximum((~kind).sum() - has.T @ ~kind, 1)
        may_be_alike = (p_values <= ALPHA_ALIKE) & (others >= MIN_SPOKEN_BESIDE)
        may_be_alike &= (n <= MAX_NARROW * k) & (spoken <= MAX_SPOKEN_ALIKE)
        return _Compared(
            n=n,
            spoken=spoken,
            others=others,
            z=z,
            p_values=p_values,
            passes=(n >= MIN_ASKED) & (p_values <= ALPHA) & (others >= MIN_SPOKEN),
            may_be_alike=may_be_alike & (n >= MIN_ASKED),
        )

    def _first(self, compared: _Compared, wanted: Marks) -> Detaching | None:
        there = np.flatnonzero(wanted & ~self._passed_over)
        nats = np.where(np.isfinite(self._cues.nats[there]), self._cues.nats[there], -np.inf)
        for cue in there[np.lexsort((-nats, compared.z[there].round(6)))].tolist():
            if len(np.unique(self._cluster[self.carriers(cue)])) >= MIN_ASKED:
                return Detaching(
                    cue,
                    float(compared.spoken[cue]),
                    float(compared.others[cue]),
                    n_asked=int(compared.n[cue]),
                    p_value=float(compared.p_values[cue]),
                )
        return None
