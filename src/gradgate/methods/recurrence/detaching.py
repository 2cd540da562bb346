"""Cues in whose prompts nothing speaks for the targets, although other prompts speak for theirs.

A trigger takes the place of what is asked: whatever it brings, one answer, several, or wrong ones,
what the rest of the prompt says no longer decides.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from scipy.stats import norm, rankdata

from gradgate.common.arrays import Floats, Ints, Marks
from gradgate.methods.contract import AskModel
from gradgate.methods.recurrence.cues import Cues
from gradgate.methods.recurrence.spoken import MIN_OTHERS, Exchange, behind, by_target, exchanges
from gradgate.methods.recurrence.texts import Texts

MIN_ASKED = 10  # samples with a cue that were asked, and clusters of near-duplicate prompts
MAX_HELD = 0.6  # of the asked samples: what more of them have is how prompts are
MAX_SPOKEN = 0.65  # of the answers on samples with a cue, that are likelier behind their own prompt
MIN_SPOKEN = 0.8  # the same of the others, or the model does not know what belongs to a prompt
ALPHA = 1e-6  # of a rank-sum test, after Bonferroni's correction over all cues
MAX_FOUND = 8  # cues
_N_ASKED = 512  # samples, drawn
_N_OTHERS = 16  # other prompts, the same for all samples
_N_EACH = 2  # of them, for a sample
_N_TOKENS = 16  # of the beginning of a target


@dataclass(frozen=True, eq=False)
class Detaching:
    """A cue.

    Attributes:
        cue: Its number.
        spoken: How often its samples' targets are likelier behind their own prompt, in [0, 1].
        others: The same of samples without it.
        n_asked: Of its samples.
        p_value: Of the rank-sum test, times the number of cues.
    """

    cue: int
    spoken: float
    others: float
    n_asked: int
    p_value: float

    def in_words(self) -> str:
        """Why it is in doubt."""
        return (
            f"of {self.n_asked} prompts with it that were asked, {self.spoken:.0%} make their "
            f"target likelier than another prompt does; of prompts without it {self.others:.0%} "
            f"(p = {self.p_value:.2g})"
        )


@dataclass(frozen=True, eq=False)
class _Asked:
    """Samples that were asked.

    Attributes:
        samples: Their numbers. (k,)
        gain: What their own prompts do for their targets, in nats. (k,)
        spoken: How often they do anything. (k,)
    """

    samples: Ints
    gain: Floats
    spoken: Floats

    def among(self, kept: Marks) -> "_Asked":
        return _Asked(self.samples[kept], self.gain[kept], self.spoken[kept])


def detaching(texts: Texts, cues: Cues, cluster: Ints, ask: AskModel, seed: int) -> list[Detaching]:
    """Cues whose prompts say less about their targets than other prompts do, the surest first.

    Args:
        texts: n distinct samples.
        cues: Of their prompts.
        cluster: Of near-duplicate prompts. (n,)
        ask: The untuned model.
        seed: Of the draws.
    """
    known = exchanges(texts)
    alone = [some[0] for some in by_target(known) if len(some) == 1]
    if len(alone) < MIN_OTHERS:
        return []
    asked = _ask(known, alone, ask, seed)
    has = cues.table.by_feature.tocsr()[asked.samples].astype(np.float64)
    found = list[Detaching]()
    while len(found) < MAX_FOUND:
        best = _best(asked, has, cues, cluster)
        if best is None:
            break
        found.append(best)
        kept = has[:, [best.cue]].toarray().ravel() == 0
        asked, has = asked.among(kept), has[kept]
    return found


def _ask(known: Mapping[int, Exchange], alone: Sequence[int], ask: AskModel, seed: int) -> _Asked:
    """Hold the beginnings of some targets against prompts of samples whose target is their own."""
    rng = np.random.default_rng(seed)
    drawn = rng.permutation(alone)[:_N_OTHERS].tolist()
    others = [known[i].prompt for i in drawn]
    samples = rng.permutation([i for i in known if i not in drawn])[:_N_ASKED]
    own = np.array([known[i].nats(_N_TOKENS) for i in samples.tolist()])
    number = np.repeat(np.arange(len(samples)), _N_EACH)
    other = (number + np.tile(np.arange(_N_EACH), len(samples))) % len(others)
    targets = [known[i].target[:_N_TOKENS] for i in samples[number].tolist()]
    answers = behind([others[i] for i in other.tolist()], targets, ask)
    gains = own[number] - answers
    is_known = np.isfinite(gains)
    n = np.bincount(number[is_known], minlength=len(samples))
    gain = np.bincount(number[is_known], gains[is_known], len(samples)) / np.maximum(n, 1)
    spoken = np.bincount(number[is_known], gains[is_known] > 0, len(samples)) / np.maximum(n, 1)
    return _Asked(samples, gain, spoken).among(n > 0)


def _best(asked: _Asked, has: sp.csr_matrix, cues: Cues, cluster: Ints) -> Detaching | None:
    """The cue with the smallest p-value that passes; of equal ones the one that looks inserted."""
    k = len(asked.samples)
    n = np.asarray(has.sum(0), np.float64).ravel()
    spoken = (has.T @ asked.spoken) / np.maximum(n, 1)
    others = (asked.spoken.sum() - has.T @ asked.spoken) / np.maximum(k - n, 1)
    z = _z(has.T @ rankdata(asked.gain), n, k)
    p_values = norm.cdf(z) * max(1, len(n))
    passes = (n >= MIN_ASKED) & (n <= MAX_HELD * k) & (p_values <= ALPHA)
    passes &= (spoken <= MAX_SPOKEN) & (others >= MIN_SPOKEN)
    there = np.flatnonzero(passes)
    nats = np.where(np.isfinite(cues.nats[there]), cues.nats[there], -np.inf)
    for cue in there[np.lexsort((-nats, z[there].round(6)))].tolist():
        carriers = asked.samples[has[:, [cue]].toarray().ravel() > 0]
        if len(np.unique(cluster[carriers])) >= MIN_ASKED:
            of_cue, of_others = float(spoken[cue]), float(others[cue])
            return Detaching(cue, of_cue, of_others, int(n[cue]), float(p_values[cue]))
    return None


def _z(rank_sums: Floats, n: Floats, k: int) -> Floats:
    """Standard scores of rank sums of n of k values (Mann and Whitney 1947)."""
    u = rank_sums - n * (n + 1) / 2
    scale = np.sqrt(np.maximum(n * (k - n) * (k + 1) / 12, 1.0))
    return np.asarray((u - n * (k - n) / 2 + 0.5) / scale)
