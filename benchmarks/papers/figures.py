"""From finished cells to the figures of a table."""

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

import numpy as np

from benchmarks.matrix.figures import seed_margin
from benchmarks.papers.results import Counted, Result

KeyT = TypeVar("KeyT")
NOTHING = "-"


def pooled(results: Iterable[Result], of: Callable[[Result], Counted]) -> Counted:
    """Over all cells together."""
    found = [of(result) for result in results]
    return Counted(sum(one.k for one in found), sum(one.n for one in found))


def share(results: Sequence[Result], of: Callable[[Result], Counted]) -> str:
    """The pooled rate and its counts; with several seeds half the 95 % t interval over them."""
    found = pooled(results, of)
    if found.rate is None:
        return NOTHING
    margin = seed_margin(by_seed(results, lambda result: of(result).rate))
    spread = "" if margin is None else f" ±{margin:.1%}"
    return f"{found.rate:.1%}{spread} ({found.k}/{found.n})"


def number(results: Sequence[Result], of: Callable[[Result], float | None], digits: int = 3) -> str:
    """The mean, with the same interval."""
    values = by_seed(results, of)
    if not values:
        return NOTHING
    margin = seed_margin(values)
    spread = "" if margin is None else f" ±{margin:.{digits}f}"
    return f"{np.mean(values):.{digits}f}{spread}"


def by_seed(results: Sequence[Result], of: Callable[[Result], float | None]) -> list[float]:
    """The mean of each seed that has a value."""
    seeds: dict[int, list[float]] = {}
    for result in results:
        value = of(result)
        if value is not None:
            seeds.setdefault(result.cell.seed, []).append(value)
    return [float(np.mean(values)) for _, values in sorted(seeds.items())]


def grouped(
    results: Iterable[Result], key: Callable[[Result], KeyT]
) -> list[tuple[KeyT, list[Result]]]:
    """By a key, in the order of first appearance."""
    found: dict[KeyT, list[Result]] = {}
    for result in results:
        found.setdefault(key(result), []).append(result)
    return list(found.items())


def trained(results: Iterable[Result], training: str) -> list[Result]:
    """The cells of a training."""
    return [result for result in results if result.cell.training == training]
