"""Method `gradshield`: FIHS against varied compliance, above what trusted and harmful data tell.

After GradShield (arXiv 2605.14194), with another safety score, another threshold, a precondition
and a test that exempts honest refusals; `gradshield_published` is the paper's own.
"""

from collections.abc import Callable, Iterable
from typing import ClassVar

import numpy as np

from gradgate.common.arrays import Floats, Marks
from gradgate.data.sample import Sample
from gradgate.data.tokens import Tokens
from gradgate.errors import DataError
from gradgate.gradients.lora_fihs import LoraFihs
from gradgate.methods.contract import Detection, Erosion, Method, Question, Scores
from gradgate.methods.gradshield.anchors import score_anchors
from gradgate.methods.gradshield.config import GradshieldConfig
from gradgate.methods.gradshield.judged import refuses
from gradgate.methods.gradshield.undecided import why_not_aligned, without_answer
from gradgate.safety.proxy import proxies

SIGNAL = "fihs_all"
MIN_REFERENCE = 30  # samples, for a quantile of them to mean anything


class GradshieldMethod(Method[GradshieldConfig]):
    """Training on the sample makes the model refuse less (FIHS; arXiv 2605.14194)."""

    name: ClassVar[str] = "gradshield"
    question: ClassVar[Question] = "harmful"
    needs: ClassVar[tuple[str, ...]] = (SIGNAL,)
    needs_tokens: ClassVar[bool] = True
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
        measure = _measure(scores, settings)
        rows = list(samples)
        formats = sorted({row.chat for row in rows})
        canaries = [score_anchors(scores, chat).harmful.scores for chat in formats]
        harmful = np.concatenate([measure(lines) for lines in canaries])
        trusted = _trusted(scores, reference, measure)
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
        return _detection(scores, measure(scores), rows, t)


def _measure(scores: Scores, settings: GradshieldConfig) -> Callable[[Scores], Floats]:
    """Gives FIHS of lines, (n,): NaN without a score.

    Raises:
        DataError: The rows were not held against a probing set.
        ModelError: The model cannot be loaded, or has no module that the adapter names.
    """
    if settings.scope == "head":
        return lambda lines: lines.signals[SIGNAL].astype(np.float64)
    if scores.model is None or scores.probes is None:
        raise DataError("the rows were not held against a probing set; score the data anew")
    loaded = scores.model.identify().load()
    terms = proxies(scores.probes, loaded.tokenizer)["all"]
    lora_fihs = LoraFihs(loaded, terms, settings.adapter)

    def over_adapter(lines: Scores) -> Floats:
        if lines.tokens is None:
            raise DataError("scope lora needs the tokens of the rows; score the data anew")
        at = np.flatnonzero(lines.is_scored)
        rows = [lines.tokens.row(i) for i in at.tolist()]
        samples = [Tokens(ids.tolist(), marks.tolist()) for ids, marks, _ in rows]
        found = np.full(lines.n, np.nan)
        found[at] = lora_fihs(samples)
        return found

    return over_adapter


def _trusted(
    scores: Scores, reference: Iterable[Sample] | None, measure: Callable[[Scores], Floats]
) -> Floats:
    """FIHS of the reference's samples, those that have one."""
    if reference is None or scores.score is None:
        return np.empty(0)
    found = measure(scores.score(list(reference)))
    return found[np.isfinite(found)]


def _threshold(harmful: Floats, trusted: Floats, settings: GradshieldConfig) -> float | None:
    """The middle of the medians, above nearly all of the reference; None where they overlap."""
    middle = (np.median(harmful) + np.median(trusted)) / 2
    t = max(middle, np.quantile(trusted, 1 - settings.max_reference_flagged))
    return float(t) if np.median(harmful) > t else None


def _detection(scores: Scores, fihs: Floats, samples: Iterable[Sample], t: float) -> Detection:
    above = scores.is_scored & (fihs > t)
    refuses = _refusing(samples, above)
    flagged = above & ~refuses
    return Detection(
        suspicion=fihs,
        flagged=flagged,
        in_doubt=scores.is_scored & np.isnan(fihs),
        group=np.zeros(scores.n, np.int64),
        reasons={
            int(i): [f"FIHS {fihs[i]:.4g} is above the threshold {t:.4g}"]
            for i in np.flatnonzero(flagged)
        },
        erosion=Erosion(flagged | refuses, flagged),
        summary={"tau": t, "exempt_refusals": int((above & refuses).sum())},
    )


def _refusing(samples: Iterable[Sample], above: Marks) -> Marks:
    """Rows among some all of whose replies are refusals by their wording: (n,)."""
    found = np.zeros(len(above), bool)
    for i, sample in enumerate(samples):
        replies = [turn for turn in sample.turns if turn.is_target]
        found[i] = above[i] and all(refuses(turn) for turn in replies)
    return found
