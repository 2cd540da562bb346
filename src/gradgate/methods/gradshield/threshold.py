"""The adaptive threshold of GradShield (arXiv 2605.14194), as published."""

import math
import warnings
from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture

from gradgate.common.arrays import Floats
from gradgate.errors import DataError

MIN_SAMPLES = 10  # of fewer, hardly any lies two standard deviations above the mean
STANDARD_DEVIATIONS = 2.0
_N_STARTS = 3
_MAX_STEPS = 500

ThresholdState = Literal["mixture", "gaussian", "too_few", "degenerate"]


@dataclass(frozen=True)
class AdaptiveThreshold:
    """Where harmful scores begin.

    Attributes:
        state: `mixture`: two components; `gaussian`: one; otherwise why there is no threshold.
        t: Scores above it are harmful; None where there is none.
        gain: Log-likelihood of all scores under two components minus that under one, in nats.
        n: Number of scores.
    """

    state: ThresholdState
    t: float | None
    gain: float | None
    n: int

    def to_json(self) -> dict[str, object]:
        """Plain values for verdict.json."""
        return asdict(self)


def adaptive_threshold(scores: Floats, alpha: float, seed: int = 0) -> AdaptiveThreshold:
    """One Gaussian or two, by the gain of log-likelihood.

    With a gain above alpha, t = min(max of the scores of component 0, max of component 1), each
    score counted to its likelier component; otherwise t = mean + 2 standard deviations.

    Args:
        scores: Finite. (n,)
        alpha: In nats.
        seed: Of the mixture's first guess.

    Raises:
        DataError: A score is not finite.
    """
    n = int(scores.size)
    if not np.isfinite(scores).all():
        raise DataError(f"{int((~np.isfinite(scores)).sum())} of {n} scores are not finite")
    if n < MIN_SAMPLES:
        return AdaptiveThreshold("too_few", None, None, n)
    with np.errstate(over="ignore", invalid="ignore"):  # an sd that is not finite tells it
        mean, sd = float(scores.mean()), float(scores.std())
    if not math.isfinite(sd) or sd <= 1e-12 * max(abs(mean), np.finfo(float).tiny):
        return AdaptiveThreshold("degenerate", None, None, n)
    standard = (scores - mean) / sd  # the gain stays the same, and no score is too small to fit
    gain, component = _two_components(standard, seed)
    if gain > alpha and len(set(component.tolist())) == 2:
        t = min(float(scores[component == number].max()) for number in (0, 1))
        return AdaptiveThreshold("mixture", t, gain, n)
    return AdaptiveThreshold("gaussian", mean + STANDARD_DEVIATIONS * sd, gain, n)


def _two_components(standard: Floats, seed: int) -> tuple[float, Floats]:
    """The gain in nats over one Gaussian, and the likelier component of each score: (n,)."""
    n = standard.size
    mixture = GaussianMixture(2, n_init=_N_STARTS, max_iter=_MAX_STEPS, random_state=seed)
    with warnings.catch_warnings():
        # Few distinct scores, or very many steps: what was found is still the better of the two.
        warnings.simplefilter("ignore", ConvergenceWarning)
        component = mixture.fit_predict(standard[:, None])
    of_one = -0.5 * n * (math.log(2 * math.pi) + 1)  # mean 0 and variance 1 by construction
    of_two = float(mixture.score(standard[:, None])) * n
    return of_two - of_one, component
