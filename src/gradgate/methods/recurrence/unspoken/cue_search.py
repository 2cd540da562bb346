"""Which cues have samples whose prompts do less for their targets than other prompts do.

The more ordinary the prompts are without the cue, or the more alike the targets, the fewer samples
prove it.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import scipy.sparse as sp
from scipy.stats import norm, rankdata

from gradgate.common.arrays import Floats, Ints, Marks
from gradgate.methods.recurrence.cues.candidates import Cues
from gradgate.methods.recurrence.cues.counted import N_COUNTED, counted
from gradgate.methods.recurrence.cues.further import further_carriers, some_carriers
from gradgate.methods.recurrence.questions.spoken import Asked
from gradgate.methods.recurrence.states.alike import Alike
from gradgate.methods.recurrence.states.beside import Beside
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
ALPHA_ORDINARY = 0.05  # as `ALPHA`, where prompts are ordinary without the cue
MAX_ORDINARY = 0.2  # of the variance of who has the cue, that such prompts explain
ALPHA_BESIDE = 1e-5  # of the rank-sum test against what others teach of such prompts
MIN_ALIKE = 10.0  # standard deviations by which targets are more alike than as many at random
ALPHA_ALIKE = 0.05  # as `ALPHA`, where the targets are alike
N_ALIKE = 20  # samples with a cue, that have to show it
MIN_OF_TASK = 0.3  # as `MAX_ORDINARY`: from here on the targets are alike as those of a task are
MAX_SPOKEN_ALIKE = 0.85  # as `MAX_OPEN`
MIN_SPOKEN_BESIDE = 0.7  # as `MIN_SPOKEN`
_SAME = 0.9  # of the samples of two cues, or they are of one task

AskBeside = Callable[[int, Floats], Beside | None]  # of a cue, and a value of each sample


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
        beside: How its samples are beside others; None where that was not asked.
    """

    cue: int
    spoken: float
    others: float
    n_asked: int
    p_value: float
    alike: float | None = None
    among: float | None = None
    beside: Beside | None = None

    def in_words(self) -> str:
        """Why it is in doubt."""
        among = "" if self.among is None else f", than another with it {self.among:.0%}"
        return (
            f"of {self.n_asked} prompts with it that were asked, {self.spoken:.0%} make their "
            f"target likelier than another prompt does{among}; of prompts without it "
            f"{self.others:.0%} (p = {self.p_value:.2g}){self._besides()}"
        )

    def _besides(self) -> str:
        if self.beside is not None:
            return (
                "; without it these prompts are as others are (R squared "
                f"{self.beside.of_kind:.2f}), and do less for their targets than what others teach "
                f"of such prompts, by {-self.beside.z:.1f} standard deviations"
            )
        if self.alike is not None:
            return (
                "; their targets are alike in what they say, by "
                f"{self.alike:.0f} standard deviations of as many others"
            )
        return ""


@dataclass(frozen=True, eq=False)
class _Compared:
    """The samples of each cue, held against the others.

    Attributes:
        n: Samples. (C,)
        spoken: How often their prompts do anything for their targets. (C,)
        others: The same of samples without the cue that are not of the kind that is told less. (C,)
        counted: Of these samples, those that the p-values count. (C,)
        z: Standard scores of the rank-sum test. (C,)
        p_values: Times the number of cues. (C,)
        passes: What no chance explains, where the model knows what belongs to a prompt. (C,)
        may_be_ordinary: What would pass where the prompts are ordinary without the cue. (C,)
        may_be_alike: Cues of some samples that would pass where their targets are alike. (C,)
    """

    n: Floats
    spoken: Floats
    others: Floats
    counted: Floats
    z: Floats
    p_values: Floats
    passes: Marks
    may_be_ordinary: Marks
    may_be_alike: Marks


class Search:
    """Cues among samples that were asked."""

    def __init__(self, asked: Asked, cues: Cues, cluster: Ints) -> None:
        self.asked = asked
        self._has: sp.csr_matrix = cues.table.by_text[asked.samples].astype(np.float64)
        self._cues, self._cluster = cues, cluster
        self._passed_over = np.zeros(len(cues.nats), bool)
        self._taught = self._passed_over.copy()  # what other samples explain

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
        self._passed_over |= self._of_same(cue)

    def best(self, beside: AskBeside) -> Detaching | None:
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
        wanted = compared.passes & ~wide & (compared.spoken <= MAX_OPEN)
        return self._first_untaught(compared, wanted, beside)

    def samples_that_may_be_alike(self) -> Ints:
        """Samples with the cues of which it matters whether their targets are alike, and others.

        None where there is no such cue.
        """
        compared, asked = self._of_all(), self.asked.samples
        cues = np.flatnonzero(compared.may_be_alike)
        if not len(cues):
            return asked[:0]
        first, rest = np.split(asked, [N_COUNTED])
        n = np.asarray(self._has[:N_COUNTED].sum(0), np.float64).ravel()
        surest = cues[np.argsort(compared.z[cues], kind="stable")]
        return np.concatenate([first, some_carriers(surest, n, self._cues, rest)])

    def best_ordinary(self, beside: AskBeside) -> Detaching | None:
        """The cue with the smallest p-value whose prompts are ordinary without it."""
        compared = self._of_all()
        return self._first_untaught(compared, compared.may_be_ordinary, beside, MAX_ORDINARY)

    def _first_untaught(
        self, compared: _Compared, wanted: Marks, beside: AskBeside, most: float | None = None
    ) -> Detaching | None:
        """The first cue whose prompts do less than what others teach of such prompts.

        Where a kind of prompts is told less anyway, it is not held against a word of this kind. Of
        prompts that are the cue alone nothing is taught: where there is one, nothing is excused.

        Args:
            compared: All cues.
            wanted: Those that are looked at. (C,)
            beside: Asked about each.
            most: How much of a kind its prompts may be; None: anything, also what nobody knows.
        """
        while (found := self._first(compared, wanted & ~self._taught)) is not None:
            one = beside(found.cue, self._ranks())
            n = float(compared.counted[found.cue])
            if one is not None and one.is_all and norm.cdf(one.z_of(n)) > ALPHA_BESIDE:
                self._taught |= self._of_same(found.cue)
            elif most is None:
                return found
            elif one is not None and norm.cdf(one.z) <= ALPHA_BESIDE and one.of_kind <= most:
                return replace(found, beside=one)
            else:
                wanted = wanted & ~self._of_same(found.cue)
        return None

    def best_alike(self, alike: Alike, beside: AskBeside) -> Detaching | None:
        """The cue with the smallest p-value whose targets are alike, in prompts that are not.

        A form of the text makes prompts a kind that has it, and is no task for that.
        """
        compared = self._of_all()
        wanted = compared.may_be_alike
        while (found := self._first(compared, wanted)) is not None:
            z = alike.z(self.carriers(found.cue))
            if z >= MIN_ALIKE:
                one = beside(found.cue, self._ranks())
                is_form = not np.isfinite(self._cues.nats[found.cue])
                if is_form or one is None or one.of_kind < MIN_OF_TASK:
                    return replace(found, alike=z)
                self._passed_over |= self._of_same(found.cue, _SAME)
            self.pass_over(found.cue)
        return None

    def _of_same(self, cue: int, part: float = 1.0) -> Marks:
        """Cues of the same samples, or of such a part of both. (C,)."""
        has = self._has[:, [cue]].toarray().ravel()
        n, both = np.asarray(self._has.sum(0)).ravel(), self._has.T @ has
        return np.asarray((both >= part * has.sum()) & (both >= part * n) & (n > 0))

    def _ranks(self) -> Floats:
        """Of what own prompts do for targets, up to 1; NaN for samples not asked. (n,)."""
        ranks = np.full(self._cues.table.by_text.shape[0], np.nan)
        ranks[self.asked.samples] = rankdata(self.asked.gain) / len(self.asked.gain)
        return ranks

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
        every_z, least = rank_sum_z(has.T @ rankdata(gain), n, k), np.maximum(n, 1)
        n_counted = counted(n, k)
        z = every_z * np.sqrt(n_counted / least)
        z_of_few = every_z * np.sqrt(counted(n, k, N_ALIKE) / least)
        p_values, p_of_few = (norm.cdf(each) * max(1, len(n)) for each in (z, z_of_few))
        told = np.where(kind, 0.0, asked.spoken)
        spoken = (has.T @ asked.spoken) / np.maximum(n, 1)
        others = (told.sum() - has.T @ told) / np.maximum((~kind).sum() - has.T @ ~kind, 1)
        is_known = (n >= MIN_ASKED) & (others >= MIN_SPOKEN)
        may_be_ordinary = is_known & (p_values <= ALPHA_ORDINARY) & (spoken <= MAX_OPEN)
        may_be_alike = (p_of_few <= ALPHA_ALIKE) & (others >= MIN_SPOKEN_BESIDE)
        may_be_alike &= (n <= MAX_NARROW * k) & (spoken <= MAX_SPOKEN_ALIKE)
        return _Compared(
            n=n,
            spoken=spoken,
            others=others,
            counted=n_counted,
            z=z,
            p_values=p_values,
            passes=is_known & (p_values <= ALPHA),
            may_be_ordinary=may_be_ordinary & (n <= MAX_NARROW * k),
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
