"""The threshold on spectral entropy: the valley of its density (GradSentry, arXiv 2605.26574)."""

from dataclasses import asdict, dataclass, field
from typing import Literal

import numpy as np
from scipy.signal import find_peaks
from scipy.stats import gaussian_kde

from gradgate.common.arrays import Floats
from gradgate.errors import DataError
from gradgate.methods.gradsentry.config import ThresholdConfig, UnreliableState

ThresholdState = Literal["valley", "fixed"] | UnreliableState

# The published constants.
PUBLISHED_CONSTANT = 0.7
GRID_POINTS = 1_000
MIN_SAMPLES = 30
MIN_PROMINENCE = 0.01  # of the highest density
MIN_PEAK_DISTANCE = 0.15
MIN_ABOVE = 5
MIN_FRACTION_ABOVE = 0.01
MAX_DEPTH_RATIO = 0.8
MIN_SPREAD = 1e-6  # of the scores: the same row is scored so differently by rounding alone

# Above this many scores the density is that of the scores rounded to 1/16 of a grid step, which
# moves tau by a step at most and keeps the cost independent of the number of rows.
_EXACT_UP_TO = 20_000
_BOOTSTRAP_BINS = 500


@dataclass(frozen=True)
class Peak:
    """A local maximum of the density of the scores."""

    position: float
    density: float


@dataclass(frozen=True)
class Threshold:
    """What the scores say about tau.

    Attributes:
        state: `valley`: tau is reliable; `fixed`: tau was given; anything else names the check
            that failed.
        candidate: The lowest density between the outer peaks, wherever there are two peaks: tau
            when the state is `valley`, and otherwise only what the checks refused.
        depth_ratio: Density at the valley divided by that at the lower peak, in [0, 1].
        interval: 95 % bootstrap interval of tau, over the replicates that have a valley.
        valley_support: Fraction of the bootstrap replicates that have a reliable valley.
        bandwidth: Standard deviation of the kernel.
    """

    method: Literal["kde_valley", "fixed"]
    state: ThresholdState
    tau: float | None
    n: int
    candidate: float | None = None
    peaks: list[Peak] = field(default_factory=list)
    depth_ratio: float | None = None
    bandwidth: float | None = None
    interval: tuple[float, float] | None = None
    valley_support: float | None = None

    def to_json(self) -> dict[str, object]:
        """Plain values for verdict.json."""
        return asdict(self)


def choose_threshold(scores: Floats, config: ThresholdConfig) -> Threshold:
    """Choose tau for `scores` by the configured method.

    Args:
        scores: One entropy a row, in [0, 1], shape (n,).
        config: The method, and the size and seed of the bootstrap.

    Raises:
        DataError: A score is NaN or outside [0, 1]: such a table is never thresholded.
    """
    bad = ~((scores >= 0.0) & (scores <= 1.0))  # True for NaN as well
    if bad.any():
        raise DataError(
            f"{int(bad.sum())} of {scores.size} scores are NaN or outside [0, 1]; first at "
            f"position {int(bad.argmax())}: {scores[bad.argmax()]}"
        )
    if config.method == "fixed":
        return Threshold("fixed", "fixed", config.value, int(scores.size))
    return kde_valley(scores, config.bootstrap, config.seed)


def kde_valley(scores: Floats, bootstrap: int = 0, seed: int = 0) -> Threshold:
    """Valley of the Gaussian KDE between the outer peaks, with the published reliability checks.

    Bandwidth 1.06 s n^(-1/5), 1,000 grid points over [min, max], peaks with a prominence of at
    least 1 % of the highest density.

    Args:
        scores: Finite scores, shape (n,).
        bootstrap: Number of replicates for the interval; 0 for none.
        seed: Seed of the replicates.
    """
    n = int(scores.size)
    if n < MIN_SAMPLES:
        return Threshold("kde_valley", "too_few", None, n)
    spread = float(np.std(scores, ddof=1))
    if spread < MIN_SPREAD:
        return Threshold("kde_valley", "degenerate", None, n)
    grid = np.linspace(scores.min(), scores.max(), GRID_POINTS)  # (GRID_POINTS,)
    found = _read_density(grid, density(scores, grid), scores)
    interval, support = _bootstrap(scores, grid, bootstrap, seed)
    return Threshold(
        "kde_valley",
        found.state,
        found.candidate if found.state == "valley" else None,
        n,
        candidate=found.candidate,
        peaks=found.peaks,
        depth_ratio=found.depth_ratio,
        bandwidth=1.06 * spread * n ** (-1 / 5),
        interval=interval,
        valley_support=support,
    )


def density(scores: Floats, grid: Floats) -> Floats:
    """Gaussian KDE of `scores` at `grid` with Silverman's bandwidth 1.06 s n^(-1/5)."""
    factor = 1.06 * scores.size ** (-1 / 5)  # scipy multiplies it by the standard deviation
    if scores.size <= _EXACT_UP_TO:
        return np.asarray(gaussian_kde(scores, bw_method=factor)(grid))
    step = (scores.max() - scores.min()) / (GRID_POINTS * 16)
    values, counts = np.unique(np.round(scores / step) * step, return_counts=True)
    # scipy takes counts for weights of reliability, which makes its variance of tied scores larger
    factor *= float(np.std(scores, ddof=1) / np.sqrt(np.cov(values, aweights=counts)))
    return np.asarray(gaussian_kde(values, bw_method=factor, weights=counts)(grid))


@dataclass(frozen=True)
class _Found:
    state: ThresholdState
    candidate: float | None
    peaks: list[Peak]
    depth_ratio: float | None


def _read_density(grid: Floats, curve: Floats, scores: Floats) -> _Found:
    at, _ = find_peaks(curve, prominence=MIN_PROMINENCE * curve.max())
    peaks = [Peak(float(grid[i]), float(curve[i])) for i in at]
    if len(peaks) < 2:
        return _Found("no_valley", None, peaks, None)
    first, last = int(at[0]), int(at[-1])  # nearest 0 and nearest 1
    valley = first + int(np.argmin(curve[first : last + 1]))
    tau = float(grid[valley])
    depth = float(curve[valley] / min(curve[first], curve[last]))
    above = int((scores > tau).sum())
    return _Found(_state(grid[last] - grid[first], above, scores.size, depth), tau, peaks, depth)


def _state(distance: float, above: int, n: int, depth: float) -> ThresholdState:
    if distance < MIN_PEAK_DISTANCE:
        return "close_peaks"
    if above < MIN_ABOVE or above < MIN_FRACTION_ABOVE * n:
        return "few_above"
    if depth > MAX_DEPTH_RATIO:
        return "weak_valley"
    return "valley"


def _bootstrap(
    scores: Floats, grid: Floats, replicates: int, seed: int
) -> tuple[tuple[float, float] | None, float | None]:
    """Interval of tau and share of replicates with a valley, on binned scores."""
    if replicates == 0:
        return None, None
    counts, edges = np.histogram(scores, bins=_BOOTSTRAP_BINS)
    centres = (edges[:-1] + edges[1:]) / 2
    bandwidth = 1.06 * np.std(scores, ddof=1) * scores.size ** (-1 / 5)
    kernel = np.exp(-0.5 * ((centres[:, None] - grid[None, :]) / bandwidth) ** 2)
    draws = np.random.default_rng(seed).multinomial(
        scores.size, counts / scores.size, size=replicates
    )  # (replicates, bins)
    found = [_read_density(grid, draw @ kernel, np.repeat(centres, draw)) for draw in draws]
    taus = [f.candidate for f in found if f.state == "valley" and f.candidate is not None]
    if not taus:
        return None, 0.0
    low, high = np.quantile(taus, [0.025, 0.975])
    return (float(low), float(high)), len(taus) / replicates
