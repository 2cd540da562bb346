"""What a comparison found: records, and the same as CSV, JSON and metrics."""

import csv
import io
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from gradgate.common.escaping import printable
from gradgate.compare.cost import Cost
from gradgate.evaluation.comparison import Estimate, Overlap, Quality
from gradgate.evaluation.rates import Rate
from gradgate.gate.verdict import Decision
from gradgate.methods.contract import Question

State = Literal["decided", "undecided", "failed"]

FIGURES = ("recall", "precision", "f1", "false_positive_rate")  # of `Quality`


@dataclass(frozen=True)
class MethodResult:
    """What one method says of the rows.

    Attributes:
        state: undecided: it could not flag, and said why; failed: it raised an error.
        verdict: The gate's decision by the configured policy, had it asked this method alone.
        reasons: Of the verdict, or the error.
        label: The column that it is held against; None where there is none.
        flagged: Of the scored rows; None unless decided.
        in_doubt: Of the scored rows, surplus copies among them; None when failed.
        quality: Of the flags; None unless decided, or without labels.
        quality_kept_out: Of the rows that are flagged or in doubt, which no training sees.
        auroc: Of the suspicion, which needs no threshold; None without labels.
        n_silent: Scored rows of which it says nothing; they are below all others for the AUROC.
        cost: Of the method alone, after the scoring.
    """

    method: str
    question: Question | None
    state: State
    verdict: Decision
    reasons: list[str]
    label: str | None = None
    flagged: Rate | None = None
    in_doubt: Rate | None = None
    quality: Quality | None = None
    quality_kept_out: Quality | None = None
    auroc: Estimate | None = None
    n_silent: int | None = None
    cost: Cost | None = None


@dataclass(frozen=True)
class Agreement:
    """How two methods mark the same rows, surplus copies left out.

    Attributes:
        flagged: Of the flags; None unless both decided.
        kept_out: Of the rows that are flagged or in doubt; None unless both decided.
    """

    first: str
    second: str
    flagged: Overlap | None
    kept_out: Overlap | None


@dataclass(frozen=True)
class SharedScoring:
    """The one scoring that all methods read.

    Attributes:
        n_scored: Distinct samples that were scored in this run.
        n_known: Rows whose score was in the score store.
    """

    cost: Cost
    n_scored: int
    n_known: int


@dataclass(frozen=True)
class Comparison:
    """Methods side by side.

    Attributes:
        n_scored: Rows that have a score, which all figures are about.
        n_positive: Of them, by the column of the labels; empty without labels.
        seed: Of the bootstrap.
    """

    source: str
    model: Mapping[str, str | None]
    n_rows: int
    n_rejected: int
    n_samples: int
    n_scored: int
    n_positive: dict[str, int]
    scoring: SharedScoring
    methods: list[MethodResult]
    agreement: list[Agreement]
    seed: int

    @property
    def headline(self) -> str:
        """The comparison in one line."""
        states = [found.state for found in self.methods]
        counted = [f"{states.count(s)} {s}" for s in ("undecided", "failed") if s in states]
        more = f" ({', '.join(counted)})" if counted else ""
        return f"{len(states)} methods on {self.n_scored:,} rows{more}"

    def per_sample(self, cost: Cost) -> float:
        """Seconds a sample of a cost."""
        return cost.seconds / self.n_samples

    def to_json(self) -> str:
        """All of it; what is not known is null."""
        content = asdict(self)
        content["scoring"]["seconds_per_sample"] = self.per_sample(self.scoring.cost)
        for line, found in zip(content["methods"], self.methods, strict=True):
            line["seconds_per_sample"] = found.cost and self.per_sample(found.cost)
        return json.dumps(_without_nan(content), indent=2, allow_nan=False) + "\n"


def figures_of(quality: Quality | None) -> dict[str, Rate | Estimate]:
    """The figures of a quality by name; nothing where there is none."""
    return {} if quality is None else {name: getattr(quality, name) for name in FIGURES}


def to_csv(comparison: Comparison) -> str:
    """One line a method; a cell is empty where there is no value."""
    text = io.StringIO()
    lines = [*map(dict, (_cells(comparison, found) for found in comparison.methods))]
    writer = csv.DictWriter(text, list(lines[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return text.getvalue()


def table(comparison: Comparison) -> dict[str, list[object]]:
    """The CSV by its columns."""
    lines = [dict(_cells(comparison, found)) for found in comparison.methods]
    return {name: [line[name] for line in lines] for name in lines[0]}


def metrics(comparison: Comparison) -> dict[str, float]:
    """The figures by method and name, as they are tracked; what is not known is left out."""
    values = {"scoring/seconds": comparison.scoring.cost.seconds}
    for found in comparison.methods:
        for name, value in _cells(comparison, found):
            if isinstance(value, int | float):
                values[f"{found.method}/{name}"] = value
    return values


def _cells(comparison: Comparison, found: MethodResult) -> Iterator[tuple[str, object]]:
    """A line of the table: names and values, None where there is none."""
    yield from {
        "method": found.method,
        "question": found.question,
        "state": found.state,
        "verdict": found.verdict,
        "label": found.label,
        "rows": comparison.n_scored,
        "positive": comparison.n_positive.get(found.label or ""),
    }.items()
    for name, rate in (("flagged", found.flagged), ("in_doubt", found.in_doubt)):
        yield name, None if rate is None else rate.k
        yield from _estimate(f"{name}_fraction", rate)
    for suffix, quality in (("", found.quality), ("_kept_out", found.quality_kept_out)):
        figures = figures_of(quality)
        for name in FIGURES:
            yield from _estimate(f"{name}{suffix}", figures.get(name))
    yield from _estimate("auroc", found.auroc)
    yield "silent", found.n_silent
    yield "seconds", found.cost and found.cost.seconds
    yield "seconds_per_sample", found.cost and comparison.per_sample(found.cost)
    yield "scoring_seconds_per_sample", comparison.per_sample(comparison.scoring.cost)
    yield "peak_mib", found.cost and found.cost.peak_mib
    yield "reasons", printable("; ".join(found.reasons)).replace("\n", r"\n")


def _estimate(name: str, found: Rate | Estimate | None) -> Iterator[tuple[str, float | None]]:
    for suffix, attribute in (("", "value"), ("_low", "low"), ("_high", "high")):
        value = None if found is None else getattr(found, attribute)
        yield f"{name}{suffix}", None if value is None or math.isnan(value) else value


def _without_nan(value: Any) -> Any:
    """JSON has no NaN: what is not known is null."""
    if isinstance(value, dict):
        return {key: _without_nan(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(one) for one in value]
    return None if isinstance(value, float) and math.isnan(value) else value
