"""Method `gradshield`: FIHS against varied compliance, above what trusted and harmful data tell.

After GradShield (arXiv 2605.14194), with another safety score, another threshold, a precondition
and a test that exempts honest refusals; `gradshield_published` is the paper's own.
"""

from collections.abc import Iterable
from typing import ClassVar

import numpy as np

from gradgate.common.arrays import Floats, Marks
from gradgate.data.sample import Sample, prompt_and_target
from gradgate.methods.contract import Detection, Erosion, Method, Question, Scores
from gradgate.methods.gradshield.anchors import score_anchors
from gradgate.methods.gradshield.config import GradshieldConfig
from gradgate.methods.gradshield.undecided import why_not_aligned, without_answer
from gradgate.safety.refusals import is_refusal

SIGNAL = "fihs_all"
MIN_REFERENCE = 30  # samples, for a quantile of them to mean anything


class GradshieldMethod(Method[GradshieldConfig]):
    """Training on the sample makes the model refuse less (FIHS; arXiv 2605.14194)."""

    name: ClassVar[str] = "gradshield"
    question: ClassVar[Question] = "harmful"
    needs: ClassVar[tuple[str, ...]] = (SIGNAL,)
    needs_model: ClassVar[bool] = True
    needs_safety: ClassVar[bool] = True
    settings = GradshieldConfig
    takes_reference: ClassVar[bool] = True

    def detect(
        self,
        scores: Scores,
        samples: Iterable[Sample],
        reference: Iterable[Sample] | None,
        settings: GradshieldConfig,
    ) -> Detection:
        """See `Method.detect`; without a reference it cannot decide."""
        fault = why_not_aligned(scores)
        if fault is not None:
            return without_answer(scores, fault, "error")
        harmful = score_anchors(scores).harmful.scores.signals[SIGNAL]
        trusted = _trusted(scores, reference)
        if trusted.size < MIN_REFERENCE:
            return without_answer(
                scores,
                f"FIHS has no scale of its own, and detection.reference has {trusted.size} scored "
                f"samples, fewer than {MIN_REFERENCE}; name a trusted dataset",
                "review",
            )
        t = _threshold(harmful, trusted, settings)
        if t is None:
            return without_answer(
                scores,
                "the harmful canaries do not lie above the trusted reference: FIHS does not tell "
                "them apart with this model",
                "review",
            )
        return _detection(scores, samples, t)


def _trusted(scores: Scores, reference: Iterable[Sample] | None) -> Floats:
    """FIHS of the reference's samples."""
    if reference is None or scores.score is None:
        return np.empty(0)
    found = scores.score(list(reference))
    return found.signals[SIGNAL][found.is_scored]


def _threshold(harmful: Floats, trusted: Floats, settings: GradshieldConfig) -> float | None:
    """The middle of the medians, above nearly all of the reference; None where they overlap."""
    middle = (np.median(harmful) + np.median(trusted)) / 2
    t = max(middle, np.quantile(trusted, 1 - settings.max_reference_flagged))
    return float(t) if np.median(harmful) > t else None


def _detection(scores: Scores, samples: Iterable[Sample], t: float) -> Detection:
    fihs = scores.signals[SIGNAL]
    above = scores.is_scored & (fihs > t)
    refuses = _refusing(samples, above)
    flagged = above & ~refuses
    return Detection(
        suspicion=fihs,
        flagged=flagged,
        in_doubt=np.zeros(scores.n, bool),
        group=np.zeros(scores.n, np.int64),
        reasons={
            int(i): [f"FIHS {fihs[i]:.4g} is above the threshold {t:.4g}"]
            for i in np.flatnonzero(flagged)
        },
        erosion=Erosion(flagged | refuses, flagged),
        summary={"tau": t, "exempt_refusals": int((above & refuses).sum())},
    )


def _refusing(samples: Iterable[Sample], above: Marks) -> Marks:
    """Rows among some whose reply is a refusal by its wording: (n,)."""
    found = np.zeros(len(above), bool)
    for i, sample in enumerate(samples):
        found[i] = above[i] and is_refusal(prompt_and_target(sample)[1])
    return found
