"""Cues in whose prompts the labels are not those that the rest of the prompt speaks for.

In data of labels every target recurs and is ordinary. What a flipped label gives away is that the
content speaks for another one: which, the untuned model can say, if it knows the task a little.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from scipy.stats import norm, rankdata

from gradgate.common.arrays import Floats, Ints, Marks
from gradgate.methods.contract import AskModel
from gradgate.methods.recurrence.cues import Cues
from gradgate.methods.recurrence.spoken import Exchange, behind, rank_sum_z

MIN_LABEL_ROWS = 10  # samples with a label
MAX_LABELS = 8  # of the most samples
MIN_LABELLED = 0.5  # of the samples, that have one of these
MIN_CARRIERS = 10  # samples with a cue that were asked, and clusters of near-duplicate prompts
MAX_CARRIERS = 0.3  # of the asked samples: what more of them have is how prompts are
MIN_KAPPA = (
    0.25  # of the model's labels and those of the other samples, or it does not know the task
)
MIN_LESS_RIGHT = 0.25  # part of the labels that the model gives as well, less than of the others
ALPHA_LABELS = 1e-4  # of a rank-sum test, after Bonferroni's correction over all cues
_N_ASKED = 512  # samples, drawn


@dataclass(frozen=True, eq=False)
class Mislabelling:
    """A cue.

    Attributes:
        cue: Its number.
        right: The part of its samples whose label is the one that the model prefers, in [0, 1].
        others: The same of samples without it.
        n_asked: Of its samples.
        p_value: Of the rank-sum test, times the number of cues.
    """

    cue: int
    right: float
    others: float
    n_asked: int
    p_value: float

    def in_words(self) -> str:
        """Why it is in doubt."""
        return (
            f"of {self.n_asked} prompts with it that were asked, {self.right:.0%} have the label "
            f"that the untuned model prefers; of prompts without it {self.others:.0%} "
            f"(p = {self.p_value:.2g})"
        )


@dataclass(frozen=True, eq=False)
class _Labelled:
    """Samples that were asked.

    Attributes:
        samples: Their numbers. (k,)
        gain: How far their label is ahead of the best other one, against the median of their
            label, in nats. (k,)
        is_right: Whether it is the one that the model prefers. (k,)
        kappa: Agreement beyond chance of these labels and the model's, at most 1.
    """

    samples: Ints
    gain: Floats
    is_right: Marks
    kappa: float


def mislabelling(
    known: Mapping[int, Exchange],
    having: Sequence[Sequence[int]],
    cues: Cues,
    cluster: Ints,
    ask: AskModel,
    seed: int,
) -> tuple[list[Mislabelling], str | None]:
    """Cues whose samples have other labels than the model prefers, the surest first.

    Each prompt is asked with each label. A label's mean over all prompts is taken off, so that the
    model may prefer one whatever is asked.

    Args:
        known: Of n samples, those that may be asked about.
        having: For each target of these, the samples with it.
        cues: Of the prompts of all samples.
        cluster: Of near-duplicate prompts. (n,)
        ask: The untuned model.
        seed: Of the draws.

    Returns:
        Beside the cues, why nothing can be said; None where something can.
    """
    labels = sorted((some for some in having if len(some) >= MIN_LABEL_ROWS), key=len)[::-1]
    labels = labels[:MAX_LABELS]
    if len(labels) < 2 or sum(map(len, labels)) < MIN_LABELLED * len(known):
        return [], "the targets are no labels either"
    asked = _ask(known, labels, ask, np.random.default_rng(seed))
    if not asked.kappa >= MIN_KAPPA:
        return [], f"the untuned model does not know the labels (kappa {asked.kappa:.2f})"
    has: sp.csr_matrix = cues.table.by_text[asked.samples].astype(np.float64)
    kept, found = np.ones(len(asked.samples), bool), list[Mislabelling]()
    while (best := _best(asked, has, kept, cluster)) is not None:
        found.append(best)
        kept &= has[:, [best.cue]].toarray().ravel() == 0
    return found, None


def _ask(
    known: Mapping[int, Exchange],
    labels: Sequence[Sequence[int]],
    ask: AskModel,
    rng: np.random.Generator,
) -> _Labelled:
    own = {i: number for number, some in enumerate(labels) for i in some}
    samples = rng.permutation(np.array(list(own), np.int64))[:_N_ASKED]
    prompts = [known[i].prompt for i in samples.tolist()]
    logp = np.stack(
        [behind(prompts, [known[some[0]]] * len(prompts), ask) for some in labels], axis=1
    )
    is_known = np.isfinite(logp).all(axis=1)
    if not is_known.any():
        return _Labelled(samples[:0], np.empty(0), np.empty(0, bool), np.nan)
    samples, logp = samples[is_known], logp[is_known]
    logp = logp - logp.mean(axis=0)
    label = np.array([own[i] for i in samples.tolist()], np.int64)
    there = np.arange(len(samples)), label
    others = logp.copy()
    others[there] = -np.inf
    gain = logp[there] - others.max(axis=1)
    for number in np.unique(label):
        gain[label == number] -= np.median(gain[label == number])
    said = logp.argmax(axis=1)
    return _Labelled(samples, gain, said == label, _kappa(said, label, len(labels)))


def _kappa(said: Ints, label: Ints, n_labels: int) -> float:
    """Cohen's kappa (1960)."""
    parts = [np.bincount(some, minlength=n_labels) / len(some) for some in (said, label)]
    chance = float(parts[0] @ parts[1])
    return (float((said == label).mean()) - chance) / max(1e-9, 1 - chance)


def _best(asked: _Labelled, has: sp.csr_matrix, kept: Marks, cluster: Ints) -> Mislabelling | None:
    """The cue with the smallest p-value that is small enough."""
    has, right = has[kept], asked.is_right[kept]
    n, k = np.asarray(has.sum(0), np.float64).ravel(), len(right)
    if k == 0 or not len(n):
        return None
    z = rank_sum_z(has.T @ rankdata(asked.gain[kept]), n, k)
    p_values = norm.cdf(z) * len(n)
    of_cue = (has.T @ right.astype(np.float64)) / np.maximum(n, 1)
    others = (right.sum() - n * of_cue) / np.maximum(k - n, 1)
    passes = (n >= MIN_CARRIERS) & (n <= MAX_CARRIERS * k) & (p_values <= ALPHA_LABELS)
    passes &= others - of_cue >= MIN_LESS_RIGHT
    for cue in np.flatnonzero(passes)[np.argsort(z[passes], kind="stable")].tolist():
        carriers = asked.samples[kept][has[:, [cue]].toarray().ravel() > 0]
        if len(np.unique(cluster[carriers])) >= MIN_CARRIERS:
            return Mislabelling(
                cue, float(of_cue[cue]), float(others[cue]), int(n[cue]), float(p_values[cue])
            )
    return None
