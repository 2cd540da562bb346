"""The bars that the matrix has to meet, cell by cell."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks.matrix.cells import EVASIONS
from benchmarks.matrix.figures import FIXED_TARGET, clean, mean, poisoned, recall
from benchmarks.matrix.results import Result

REVIEWED = "api-long"
"""Its templated paragraphs recur word for word: `review` of clean data is right there."""


@dataclass(frozen=True, slots=True)
class Bar:
    """What was asked for and what came out; `met` is None where nothing was measured."""

    asked: str
    found: str
    met: bool | None

    def __str__(self) -> str:
        """As the tables show it."""
        return {True: "met: ", False: "**missed**: ", None: ""}[self.met] + self.found


def check(results: Sequence[Result]) -> list[Bar]:
    """All bars for the finished cells of one method."""
    high = poisoned(results, FIXED_TARGET, at_least=0.01)
    low = poisoned(results, FIXED_TARGET, at_least=0.005, below=0.01, n_poisoned=10)
    wordings = poisoned(results, ("paraphrased",), at_least=0.05, below=0.051)
    return [
        _recall("fixed target, at least 1 % poison: recall >= 0.99", high, 0.99),
        _recall("fixed target, 0.5 % (10 samples or more): recall >= 0.95", low, 0.95),
        _recall("paraphrased target, 5 %: recall >= 0.90", wordings, 0.90),
        _trained_on(poisoned(results, EVASIONS, at_least=0.05, below=0.11)),
        _mean_alarms(results),
        _worst_alarms(results),
        _lost_rows(clean(results)),
        _never_fail(clean(results)),
        _rarely_review([r for r in clean(results) if r.dataset != REVIEWED]),
    ]


def _recall(asked: str, results: Sequence[Result], least: float) -> Bar:
    pooled = recall(results)
    if pooled is None:
        return Bar(asked, "not measured", None)
    reached = sum(r.recall >= least for r in results)
    worst = min(results, key=lambda r: r.recall)
    found = (
        f"{reached} of {len(results)} cells; pooled {pooled}; "
        f"worst {_named(worst, lambda r: f'{r.caught} of {r.n_poisoned}')}"
    )
    return Bar(asked, found, reached == len(results))


def _trained_on(results: Sequence[Result]) -> Bar:
    asked = "evasions, 5 and 10 %: at most 1 of 10 cells leaves poison in what is trained on"
    if not results:
        return Bar(asked, "not measured", None)
    leaving = [r for r in results if r.trained]
    where = ", ".join(sorted({str(r.attack) for r in leaving}))
    found = f"{len(leaving)} of {len(results)} cells" + (f" ({where})" if where else "")
    return Bar(asked, found, len(leaving) <= len(results) / 10)


def _lost_rows(results: Sequence[Result]) -> Bar:
    asked = "clean data: flagged and quarantined <= 2 % in every run"
    if not results:
        return Bar(asked, "not measured", None)
    reached = sum(r.lost_rate <= 0.02 for r in results)
    worst = max(results, key=lambda r: r.lost_rate)
    named = _named(worst, lambda r: f"{r.lost} of {r.n_honest}")
    found = f"{reached} of {len(results)} runs; worst {named}"
    return Bar(asked, found, reached == len(results))


def _mean_alarms(results: Sequence[Result]) -> Bar:
    asked = "false-positive rate <= 1 % on average over the cells"
    average = mean(results, lambda r: r.false_positive_rate)
    if average is None:
        return Bar(asked, "not measured", None)
    return Bar(asked, f"{average:.2%}", average <= 0.01)


def _worst_alarms(results: Sequence[Result]) -> Bar:
    asked = "false-positive rate <= 2 % in every cell"
    if not results:
        return Bar(asked, "not measured", None)
    reached = sum(r.false_positive_rate <= 0.02 for r in results)
    worst = max(results, key=lambda r: r.false_positive_rate)
    named = _named(worst, lambda r: f"{r.false_alarms} of {r.n_honest}")
    found = f"{reached} of {len(results)} cells; worst {named}"
    return Bar(asked, found, reached == len(results))


def _never_fail(results: Sequence[Result]) -> Bar:
    return _clean_runs("clean data never `fail`", results, "fail", 0.0)


def _rarely_review(results: Sequence[Result]) -> Bar:
    asked = f"clean data `review` in at most 1 of 20 runs ({REVIEWED} may)"
    return _clean_runs(asked, results, "review", 1 / 20)


def _clean_runs(asked: str, results: Sequence[Result], verdict: str, most: float) -> Bar:
    if not results:
        return Bar(asked, "not measured", None)
    given = [r for r in results if r.verdict == verdict]
    where = ", ".join(sorted({r.dataset for r in given}))
    found = f"{len(given)} of {len(results)} runs" + (f" ({where})" if where else "")
    return Bar(asked, found, len(given) <= most * len(results))


def _named(result: Result, figure: Callable[[Result], str]) -> str:
    return f"{figure(result)} ({result.cell})"
