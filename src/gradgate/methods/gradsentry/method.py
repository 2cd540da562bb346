"""Method `gradsentry`, as published: a row is flagged when its spectral entropy is above tau."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from gradgate.common.arrays import Floats, Marks
from gradgate.data.sample import Sample
from gradgate.methods.contract import Detection, Method, Question, Scores
from gradgate.methods.gradsentry.config import GradsentryConfig
from gradgate.methods.gradsentry.threshold import (
    PUBLISHED_CONSTANT,
    Threshold,
    ThresholdState,
    choose_threshold,
)

_MEANING: dict[ThresholdState, str] = {
    "too_few": "fewer than 30 scores",
    "degenerate": "all scores are the same",
    "no_valley": "the density has fewer than two peaks",
    "close_peaks": "the outer peaks are less than 0.15 apart",
    "few_above": "fewer than 5 samples or 1 % lie above the valley",
    "weak_valley": "the valley is higher than 0.8 of the lower peak",
}


@dataclass(frozen=True)
class _Ruling:
    """What a threshold means for the rows.

    Attributes:
        tau: What is above it is flagged; None where there is nothing to flag by.
        note: Why it is not the valley, in words.
        undecided: What the settings make of it where there is no tau.
    """

    tau: float | None
    note: str | None = None
    undecided: Literal["review", "fail", "pass"] = "review"


class GradsentryMethod(Method[GradsentryConfig]):
    """Spectral entropy above the valley of its density (GradSentry, arXiv 2605.26574)."""

    name: ClassVar[str] = "gradsentry"
    question: ClassVar[Question] = "poisoned"
    needs: ClassVar[tuple[str, ...]] = ("spectral_entropy",)
    settings = GradsentryConfig

    def detect(
        self,
        scores: Scores,
        samples: Iterable[Sample],
        reference: Iterable[Sample] | None,
        settings: GradsentryConfig,
    ) -> Detection:
        """See `Method.detect`; texts and reference are not looked at."""
        entropy = scores.signals["spectral_entropy"]
        threshold = choose_threshold(entropy[scores.is_scored], settings.threshold)
        ruling = _ruled(threshold, settings)
        above = np.zeros(scores.n, bool) if ruling.tau is None else entropy > ruling.tau
        is_undecided = ruling.tau is None and ruling.undecided != "pass"
        return Detection(
            suspicion=entropy,
            flagged=None if is_undecided else above,
            in_doubt=np.zeros(scores.n, bool),
            group=np.zeros(scores.n, np.int64),
            reasons=_reasons(entropy, above, ruling.tau),
            summary={"tau": ruling.tau, "threshold": threshold.to_json()},
            notes=[ruling.note] if ruling.note and ruling.tau is not None else [],
            undecided_because=ruling.note if ruling.tau is None else None,
            undecided_means=ruling.undecided,
        )


def _reasons(entropy: Floats, above: Marks, tau: float | None) -> dict[int, list[str]]:
    return {
        int(i): [f"spectral entropy {entropy[i]:.4f} is above tau {tau:.4f}"]
        for i in np.flatnonzero(above)
    }


def _ruled(threshold: Threshold, settings: GradsentryConfig) -> _Ruling:
    """Decide what a threshold state means before any sample is counted."""
    if threshold.state == "valley":
        return _Ruling(threshold.tau)
    if threshold.state == "fixed":
        return _Ruling(threshold.tau, f"tau = {threshold.tau} is fixed by the configuration")
    is_named = threshold.state in settings.without_valley
    action = settings.without_valley.get(threshold.state, "review")
    found = f"no reliable valley ({threshold.state}: {_MEANING[threshold.state]})"
    source = "the configuration says" if is_named else "by default"
    if action == "published_constant":
        note = f"{found}; {source} to use the published constant tau = {PUBLISHED_CONSTANT}"
        return _Ruling(PUBLISHED_CONSTANT, note)
    return _Ruling(None, f"{found}; {source}: {action}", action)
