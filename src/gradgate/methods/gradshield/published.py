"""Method `gradshield_published`: FIHS with the published token pair and threshold, faithfully."""

from collections.abc import Iterable
from typing import ClassVar

import numpy as np

from gradgate.common.arrays import Floats, Marks
from gradgate.data.sample import Sample
from gradgate.methods.contract import Detection, Method, Question, Scores
from gradgate.methods.gradshield.config import GradshieldPublishedConfig
from gradgate.methods.gradshield.threshold import (
    MIN_SAMPLES,
    AdaptiveThreshold,
    ThresholdState,
    adaptive_threshold,
)

SIGNAL = "fihs_published"
_NO_THRESHOLD: dict[ThresholdState, str] = {
    "too_few": f"fewer than {MIN_SAMPLES} scored rows",
    "degenerate": "all rows have the same FIHS",
}
_KNOWN_FAILURE = (
    "the published threshold is known to remove a large part of clean rows where it takes two "
    "components, and the published token pair turns round where the model is certain to refuse"
)


class GradshieldPublishedMethod(Method[GradshieldPublishedConfig]):
    """FIHS of the token pair above the adaptive threshold (GradShield, arXiv 2605.14194)."""

    name: ClassVar[str] = "gradshield_published"
    question: ClassVar[Question] = "harmful"
    needs: ClassVar[tuple[str, ...]] = (SIGNAL,)
    needs_safety: ClassVar[bool] = True
    settings = GradshieldPublishedConfig

    def detect(
        self,
        scores: Scores,
        samples: Iterable[Sample],
        reference: Iterable[Sample] | None,
        settings: GradshieldPublishedConfig,
    ) -> Detection:
        """See `Method.detect`; texts and reference are not looked at."""
        fihs = scores.signals[SIGNAL]
        threshold = adaptive_threshold(fihs[scores.is_scored], settings.alpha, settings.seed)
        above = None if threshold.t is None else scores.is_scored & (fihs > threshold.t)
        return Detection(
            suspicion=fihs,
            flagged=above,
            in_doubt=np.zeros(scores.n, bool),
            group=np.zeros(scores.n, np.int64),
            reasons={} if above is None else _reasons(fihs, above, threshold),
            summary={"threshold": threshold.to_json()},
            notes=[_KNOWN_FAILURE] if threshold.state == "mixture" else [],
            undecided_because=_NO_THRESHOLD.get(threshold.state),
        )


def _reasons(fihs: Floats, above: Marks, threshold: AdaptiveThreshold) -> dict[int, list[str]]:
    return {
        int(i): [f"FIHS {fihs[i]:.4g} is above the adaptive threshold {threshold.t:.4g}"]
        for i in np.flatnonzero(above)
    }
