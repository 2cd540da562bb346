"""The threshold of detectors whose papers give none: one simple rule for all of them.

A row is flagged when its suspicion is above the mean of all rows plus two standard deviations, or
above a quantile where the settings name one. The rule is known to be poor: a fifth of harmful rows
moves mean and deviation so far that few are above. It is there so that every detector can be run as
a gate; a comparison of detectors should go by AUROC, which needs no threshold.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from pydantic import Field

from gradgate.common.arrays import Floats, Marks
from gradgate.config import Fraction, Section
from gradgate.methods.contract import Detection, Scores

MIN_VALUES = 30  # below which neither mean nor deviation says much
DEVIATIONS = 2.0


class CutoffConfig(Section):
    """How the threshold of a detector without one of its own is chosen."""

    quantile: Fraction | None = Field(
        None,
        description="Flag what is above this quantile of all rows' suspicion; mean plus two "
        "standard deviations when absent.",
    )


@dataclass(frozen=True)
class Cutoff:
    """A threshold, or why there is none.

    Attributes:
        value: What is above it is flagged; None where nothing can be decided.
        rule: How it came about, in words.
        undecided: Why there is none, in words.
    """

    value: float | None
    rule: str
    undecided: str | None = None


def cutoff(suspicion: Floats, settings: CutoffConfig) -> Cutoff:
    """Choose the threshold from the values of all rows, NaN left out: (n,)."""
    values = suspicion[np.isfinite(suspicion)]
    quantile = settings.quantile
    rule = "mean + 2 standard deviations" if quantile is None else f"quantile {quantile}"
    if len(values) < MIN_VALUES:
        few = f"{len(values)} rows have a value, fewer than {MIN_VALUES}"
        return Cutoff(None, rule, f"no threshold: {few}")
    if values.min() == values.max():
        return Cutoff(None, rule, "no threshold: all rows have the same value")
    if quantile is not None:
        return Cutoff(float(np.quantile(values, quantile)), rule)
    return Cutoff(float(values.mean() + DEVIATIONS * values.std()), rule)


def detection(
    suspicion: Floats,
    scores: Scores,
    chosen: Cutoff,
    reason: Callable[[int], str],
    summary: dict[str, object] | None = None,
    notes: list[str] | None = None,
) -> Detection:
    """Flag what is above the threshold.

    A scored row without a value is in doubt: what was not evaluated has not passed.

    Args:
        suspicion: High is suspicious; NaN where there is none. (n,)
        scores: Of the same rows.
        chosen: The threshold.
        reason: Why a row is flagged, by its position.
        summary: Further facts.
        notes: What the detector cannot say about these data.
    """
    lacking = scores.is_scored & ~np.isfinite(suspicion)
    above = _above(suspicion, chosen)
    flagged = np.zeros(scores.n, bool) if above is None else above & scores.is_scored
    reasons = {int(i): [reason(int(i))] for i in np.flatnonzero(flagged)}
    reasons |= {int(i): ["the method has no value for this row"] for i in np.flatnonzero(lacking)}
    return Detection(
        suspicion=suspicion,
        flagged=None if above is None else flagged,
        in_doubt=lacking,
        group=np.zeros(scores.n, np.int64),
        reasons=reasons,
        summary={"threshold": chosen.value, "rule": chosen.rule, **(summary or {})},
        notes=notes or [],
        undecided_because=chosen.undecided,
    )


def _above(suspicion: Floats, chosen: Cutoff) -> Marks | None:
    if chosen.value is None:
        return None
    return np.isfinite(suspicion) & (suspicion > chosen.value)
