"""Contrasts: a signal of the gradient in the rows of a group against that of all other rows."""

from collections.abc import Sequence

import numpy as np
from scipy.stats import mannwhitneyu

from gradgate.common.arrays import Floats, Marks
from gradgate.methods.evidence import Contrast

ALPHA = 0.01  # of the Mann-Whitney test of one signal
_PHRASES = {
    "entropy_full": "spectral entropy is",
    "evenness": "evenness is",
    "gradient_recurrence": "gradient recurrence is",
    "loss": "loss is",
}


def contrast(signal: str, values: Floats, inside: Marks) -> Contrast | None:
    """A signal of the marked rows against that of all others; None where either side has none."""
    known = np.isfinite(values)
    here, there = values[known & inside], values[known & ~inside]
    if not here.size or not there.size:
        return None
    found = mannwhitneyu(here, there, alternative="two-sided", method="asymptotic")
    p_value = float(found.pvalue) if np.isfinite(found.pvalue) else 1.0
    return Contrast(
        signal,
        float(np.median(here)),
        float(np.median(there)),
        float(found.statistic / (here.size * there.size)),
        p_value,
    )


def of_gradient(contrasts: Sequence[Contrast]) -> list[Contrast]:
    """The contrasts of the gradient's signals."""
    return [c for c in contrasts if c.signal in _PHRASES]


def bear_out(contrasts: Sequence[Contrast]) -> list[Contrast]:
    """The significant contrasts of the gradient, which bear a group out."""
    return [c for c in of_gradient(contrasts) if c.p_value < ALPHA]


def gradient_says(contrasts: Sequence[Contrast]) -> str:
    """In words: how the gradients of a group differ from those of the other samples."""
    if not of_gradient(contrasts):
        return "nothing is known of the gradient, and so it excuses nothing"
    telling = bear_out(contrasts)
    if not telling:
        return "the gradient does not bear it out: it is like that of other samples"
    words = [
        f"{_PHRASES[c.signal]} {'higher' if c.auroc > 0.5 else 'lower'} "
        f"({c.inside:.2f} against {c.outside:.2f}, AUROC {c.auroc:.2f})"
        for c in telling
    ]
    return "the gradient bears it out: " + ", ".join(words)
