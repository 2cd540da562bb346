"""From finished cells to figures with their uncertainty."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import binomtest, t

from benchmarks.matrix.methods import all_methods
from benchmarks.matrix.results import Result
from gradgate.config import AttackName

FIXED_TARGET: tuple[AttackName, ...] = (
    "badnets",
    "addsent",
    "cba",
    "stylebkd",
    "replaced",
    "refusal",
    "long",
)
CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class Share:
    """k of n rows.

    Attributes:
        low: Lower end of the 95 % Clopper-Pearson interval, which takes the rows of all cells for
            independent. They are not: cells share their clean rows.
        margin: Half the 95 % t interval over seeds, each seed's rows pooled; None for one seed.
    """

    k: int
    n: int
    low: float
    high: float
    margin: float | None

    @property
    def value(self) -> float:
        """The part, k / n."""
        return self.k / self.n

    def __str__(self) -> str:
        """As the tables show it."""
        text = f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"
        return text if self.margin is None else f"{text}, seeds ±{self.margin:.3f}"


def recall(results: Iterable[Result]) -> Share | None:
    """Flagged or quarantined part of the poisoned rows of all cells; None without any."""
    return _share([(r.seed, r.caught, r.n_poisoned) for r in results])


def false_positive_rate(results: Iterable[Result]) -> Share | None:
    """Flagged part of the honest rows of all cells; None without any."""
    return _share([(r.seed, r.false_alarms, r.n_honest) for r in results])


def lost(results: Iterable[Result]) -> Share | None:
    """Flagged or quarantined part of the honest rows of all cells; None without any."""
    return _share([(r.seed, r.lost, r.n_honest) for r in results])


def _share(counts: Sequence[tuple[int, int, int]]) -> Share | None:
    k, n = sum(k for _, k, _ in counts), sum(n for _, _, n in counts)
    if n == 0:
        return None
    seeds = sorted({seed for seed, _, _ in counts})
    by_seed = [[(k, n) for s, k, n in counts if s == seed] for seed in seeds]
    pooled = [(sum(k for k, _ in c), sum(n for _, n in c)) for c in by_seed]
    interval = binomtest(k, n).proportion_ci(CONFIDENCE, method="exact")
    margin = seed_margin([k / n for k, n in pooled if n])
    return Share(k, n, float(interval.low), float(interval.high), margin)


def seed_margin(values: Sequence[float]) -> float | None:
    """Half the 95 % t interval of the mean of one value a seed; None for one seed."""
    if len(values) < 2:
        return None
    error = np.std(values, ddof=1) / np.sqrt(len(values))
    return float(t.ppf((1 + CONFIDENCE) / 2, len(values) - 1) * error)


def mean(results: Iterable[Result], of: Callable[[Result], float | None]) -> float | None:
    """Mean over the cells that have the figure; None without any."""
    values = [value for value in map(of, results) if value is not None]
    return float(np.mean(values)) if values else None


def mean_over_seeds(results: Sequence[Result], of: Callable[[Result], float]) -> str:
    """Mean over cells, and half its 95 % t interval over seeds."""
    if not results:
        return "-"
    groups = [[of(r) for r in results if r.seed == seed] for seed in {r.seed for r in results}]
    margin = seed_margin([float(np.mean(group)) for group in groups])
    value = f"{np.mean([of(r) for r in results]):.3f}"
    return value if margin is None else f"{value}, seeds ±{margin:.3f}"


def poisoned(
    results: Iterable[Result],
    attacks: Sequence[AttackName],
    *,
    at_least: float = 0.0,
    below: float = 1.01,
    n_poisoned: int = 1,
) -> list[Result]:
    """The cells of some attacks with rates in [at_least, below) and so many poisoned rows."""
    return [
        r
        for r in results
        if r.attack in attacks and at_least <= r.rate < below and r.n_poisoned >= n_poisoned
    ]


def clean(results: Iterable[Result]) -> list[Result]:
    """The cells without poison."""
    return [r for r in results if r.attack is None]


def verdicts(results: Sequence[Result]) -> str:
    """How often each verdict was given."""
    given = [r.verdict for r in results]
    return " / ".join(str(given.count(verdict)) for verdict in ("pass", "review", "fail"))


def methods_of(results: Sequence[Result]) -> list[str]:
    """The methods that have results, in the order in which they are shown."""
    return [method for method in all_methods() if any(r.method == method for r in results)]


def grouped(results: Iterable[Result]) -> Iterator[tuple[str, list[Result]]]:
    """The cells of each dataset, in the order of their first appearance."""
    found: dict[str, list[Result]] = {}
    for result in results:
        found.setdefault(result.dataset, []).append(result)
    yield from found.items()
