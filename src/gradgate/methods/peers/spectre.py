"""Method `spectre` (Hayase, Kong, Somani and Oh, ICML 2021, arXiv 2104.11315).

The model is trained on the data; of each sample the last layer's representation is taken (here the
mean over its target tokens). In the space of the k first principal components the covariance of the
honest rows is estimated robustly, by a filter that leaves out rows whose quadratic form stands out
(Diakonikolas et al. 2017); all rows are whitened with it, and scored by quantum entropy (QUE,
alpha = 4). The 1.5 * epsilon * n rows of the highest score are removed, epsilon being the poisoned
fraction that the user has to know. k is the one of ten values up to 100 after whose removal the
rows stand out most. The filter, its constants and its tails are those of the published program. The
paper does that for the target class of a classifier; data for generation are one class here.

Known failures: it always flags the same number of rows, so that clean data loses 1.5 epsilon of
them; and where the poison is more than epsilon, it spoils the covariance.
"""

from collections.abc import Iterable
from typing import ClassVar

import numpy as np
from pydantic import Field
from scipy.linalg import expm
from scipy.sparse.linalg import LinearOperator, eigsh

from gradgate.common.arrays import Floats, Ints, Marks
from gradgate.config import Section
from gradgate.data.sample import Sample
from gradgate.methods.contract import Detection, Method, Question, Scores
from gradgate.methods.peers.judging import MIN_ROWS, highest, judged, too_few, undecided
from gradgate.methods.peers.training import TrainingConfig, trained_states

# The published constants.
REMOVED = 1.5  # times the expected number of poisoned rows
ALPHA = 4.0  # of the quantum entropy
MAX_COMPONENTS = 100
N_CANDIDATES = 10  # values of k
_LEFT_OUT = 2.0  # times the expected number of poisoned rows: the most that the filter leaves out
_C = 10.0  # of the filter's bounds
_TAU = 0.1  # the filter may fail with this probability
_SHIFT = 3.0  # standard deviations of the quadratic form that no filter touches
_ACCURACY = 1e-3  # of the variance that is held against a bound

_NOTE = "it always flags 1.5 times the expected fraction of poison, also of clean data"


class SpectreConfig(Section):
    """Method `spectre`."""

    expected_poison: float = Field(0.1, gt=0, le=0.3, description="The poisoned fraction.")
    training: TrainingConfig = TrainingConfig()


class SpectreMethod(Method[SpectreConfig]):
    """The rows of the highest quantum entropy, after whitening by a robust covariance."""

    name: ClassVar[str] = "spectre"
    question: ClassVar[Question] = "poisoned"
    needs_tokens: ClassVar[bool] = True
    needs_model: ClassVar[bool] = True
    settings = SpectreConfig

    def detect(
        self,
        scores: Scores,
        samples: Iterable[Sample],
        reference: Iterable[Sample] | None,
        settings: SpectreConfig,
    ) -> Detection:
        """See `Method.detect`; texts and reference are not looked at."""
        at, states = trained_states(scores, settings.training, MIN_ROWS)
        if len(at) < MIN_ROWS:
            return undecided(scores, too_few(len(at), MIN_ROWS))
        found = quantum_scores(states, settings.expected_poison)
        if found is None:
            return undecided(scores, "the rows' hidden states do not vary")
        outlying, k = found
        n_removed = round(REMOVED * settings.expected_poison * len(at))
        is_poison = highest(outlying, n_removed)
        reasons = [f"QUE score {value:.4g}, among the {n_removed} highest" for value in outlying]
        summary: dict[str, object] = {"n_removed": n_removed, "n_components": k}
        return judged(scores, at, outlying, is_poison, reasons, summary, [_NOTE])


def quantum_scores(states: Floats, epsilon: float) -> tuple[Floats, int] | None:
    """QUE scores and the number of principal components: (m, d) -> (m,).

    None where the rows are all the same.
    """
    m = len(states)
    components = _principal_components(states, m // 3)
    if components.shape[1] == 0:
        return None
    best: tuple[float, Floats, int] | None = None
    for k in np.unique(np.round(np.linspace(1, components.shape[1] ** 0.5, N_CANDIDATES) ** 2)):
        outlying = _scores_of(components[:, : int(k)], epsilon)
        kept = components[~highest(outlying, round(REMOVED * epsilon * m))]
        left = float(_entropy_form(_whitened(components, kept))[1])
        if best is None or left > best[0]:
            best = (left, outlying, int(k))
    assert best is not None
    return best[1], best[2]


def _principal_components(states: Floats, most: int) -> Floats:
    """Those that vary, at most `most` and `MAX_COMPONENTS`: (m, d) -> (m, r)."""
    left, sigma, _ = np.linalg.svd(states - states.mean(axis=0), full_matrices=False)
    r = min(int((sigma > 1e-9 * max(sigma[0], 1e-300)).sum()), most, MAX_COMPONENTS)
    return np.asarray(left[:, :r] * sigma[:r])


def _scores_of(components: Floats, epsilon: float) -> Floats:
    """QUE scores by k components: (m, k) -> (m,)."""
    if components.shape[1] == 1:
        return components[:, 0] ** 2
    white = _whitened(components, components[robust_rows(components, epsilon)])
    form, _ = _entropy_form(white)
    return _values(form, white)


def _values(form: Floats, rows: Floats) -> Floats:
    """x^T M x of each row: (m,)."""
    return np.asarray(((rows @ form) * rows).sum(axis=1))


def _whitened(components: Floats, like: Floats) -> Floats:
    """Rows in whose terms the covariance of some of them is one."""
    return components @ _inverse_root(np.cov(like.T, bias=True))


def _inverse_root(covariance: Floats) -> Floats:
    """To the power of -1/2, of a symmetric positive matrix or number: (k, k)."""
    values, vectors = np.linalg.eigh(np.atleast_2d(covariance))
    floor = max(values[-1] * 1e-12, np.finfo(float).tiny)
    return np.asarray((vectors / np.sqrt(np.maximum(values, floor))) @ vectors.T)


def _entropy_form(white: Floats) -> tuple[Floats, float]:
    """The form of the QUE score, of trace one, (k, k), and its value for the covariance."""
    covariance = np.atleast_2d(np.cov(white.T))
    excess = np.linalg.norm(covariance, 2) - 1
    one = np.eye(len(covariance))
    form = expm(ALPHA * (covariance - one) / excess) if excess > 0 else one
    form = form / np.trace(form)
    return form, float(np.trace(covariance @ form))


def robust_rows(components: Floats, epsilon: float) -> Ints:
    """Rows that the filter leaves, of centred ones: (m, k) -> positions."""
    rows = np.arange(len(components))
    limit = round(_LEFT_OUT * epsilon * len(rows))
    while limit > 0:
        kept = _filtered(components[rows], epsilon, limit)
        if kept is None or kept.all():
            break
        limit -= int((~kept).sum())
        rows = rows[kept]
    return rows


def _filtered(components: Floats, epsilon: float, limit: int) -> Marks | None:
    """One step of the filter: which rows stay; None where none stands out."""
    m, k = components.shape
    white = components @ _inverse_root(components.T @ components / m)
    lengths = (white**2).sum(axis=1)
    far = lengths >= _C * k * np.log(m / _TAU)
    if far.any():
        return ~far | ~highest(lengths, limit)
    variance, form = _most_varying_form(white)
    if variance <= 1 + _C * epsilon * np.log(1 / epsilon) ** 2:
        return None
    values = (_values(form, white) - np.trace(form)) / 2**0.5
    distances = np.abs(values - np.median(values))
    for i, distance in enumerate(np.sort(distances), start=1):
        if distance > _SHIFT and i / m >= _tail(distance - _SHIFT, epsilon):
            return (distances <= distance - _SHIFT) | ~highest(distances, limit)
    return None


def _most_varying_form(white: Floats) -> tuple[float, Floats]:
    """The symmetric form of norm one that varies most over the rows, and its variance."""
    m, k = white.shape

    def covariance(vector: Floats) -> Floats:
        form = vector.reshape(k, k)
        moments = white.T @ (white * _values(form, white)[:, None]) / m
        return np.asarray((moments - np.trace(form) * one).ravel())

    one = np.eye(k)
    operator = LinearOperator((k * k, k * k), matvec=covariance, dtype=np.float64)
    start = np.random.default_rng(0).standard_normal((k, k))
    values, vectors = eigsh(operator, k=1, which="LA", v0=(start + start.T).ravel(), tol=_ACCURACY)
    form = vectors[:, 0].reshape(k, k)
    return float(values[0]), (form + form.T) / 2


def _tail(distance: float, epsilon: float) -> float:
    """How many rows may lie further out, as a fraction."""
    if distance <= 10 * np.log(1 / epsilon):
        return 1.0
    return float(3 * epsilon / (distance * np.log(distance)) ** 2)
