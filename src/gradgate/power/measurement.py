"""The power of a run: canaries for the method that it flagged by."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from gradgate.common import parquet
from gradgate.common.run_folder import SCORED, RunFolder
from gradgate.config import PowerConfig, ScoringConfig, Section
from gradgate.data.prepare import SampleFile
from gradgate.data.sample import RejectedRowError, Sample
from gradgate.data.tokens import tokenize_all
from gradgate.gradients.score import Score
from gradgate.gradients.scorer import Scorer
from gradgate.methods.contract import Method, Scores
from gradgate.methods.expected import Expected
from gradgate.models.loading import LoadedModel
from gradgate.power.canaries import CopyScorer, measure
from gradgate.power.planting import Carriers
from gradgate.power.power import Power

# What a sample's own pass gives; other signals compare it with all samples.
_OF_ONE_PASS = (
    "spectral_entropy",
    "entropy_crop",
    "entropy_full",
    "evenness",
    "n_target_tokens",
    "loss",
    "gradient_norm",
)


@dataclass(frozen=True)
class Measured:
    """Which attacks would have been found.

    Attributes:
        power: Of the attacks that were planted; None when none were.
        not_tried: Why others were not, in words.
    """

    power: list[Power] | None
    not_tried: list[str]


NOT_MEASURED = Measured(None, [])


def measure_power(
    run: RunFolder,
    method: Method[Any],
    settings: Section,
    config: PowerConfig,
    scoring: ScoringConfig,
    load: Callable[[], LoadedModel],
    limit: Callable[[], int],
    reference: Path | None = None,
    expected: Expected | None = None,
) -> Measured:
    """Plant canaries of known attacks in a copy of the samples, and let the method judge it.

    Rows that are flagged or in doubt have no part in the copy, so that poison which the data
    already have neither explains a canary nor lends it its target.

    Args:
        run: Holds samples.parquet and flags.parquet, which are only read.
        method: That judged the run.
        settings: Its own.
        config: Which attacks, and how many samples.
        scoring: Mode and k.
        load: Loads the model, where the method needs scores.
        limit: Longest sample in tokens; longer canaries are left out, as such rows would be.
        reference: Samples of the trusted data that the run was held against.
        expected: What the owner vouches for.

    Raises:
        DataError: A file is missing or damaged.
        ModelError: The model cannot be loaded or is not fit to score.
    """
    if not config.attacks:
        return NOT_MEASURED
    missing = [name for name in method.needs if name not in _OF_ONE_PASS]
    if missing:
        why = f"canaries have no {', '.join(missing)}, which method {method.name} needs"
        return Measured(None, [f"no canaries were planted: {why}"])
    data = Carriers.of(SampleFile(run.samples), config, set_aside(run))
    if method.needs:
        score: CopyScorer = _Scored(run, method, scoring, load, limit)
    else:
        score = _Unscored(method.reports)
    trusted = None if reference is None else SampleFile(reference)

    def vouched(samples: Sequence[Sample]) -> Scores:
        return replace(score(samples), expected=expected)

    return Measured(*measure(data, method, settings, config, vouched, trusted))


def set_aside(run: RunFolder) -> set[str]:
    """Ids of the samples that are flagged or in doubt.

    Surplus copies are in doubt for their number alone: the sample is set aside only where all of
    its rows are.
    """
    columns = ["sample_id", "flagged", "in_doubt", "surplus_copy"]
    table = parquet.table(run.flags, columns)
    marked, kept = set[str](), set[str]()
    for sample, flagged, doubt, surplus in zip(
        *(table[name].to_pylist() for name in columns), strict=True
    ):
        if flagged or (doubt and not surplus):
            marked.add(sample)
        elif not surplus:
            kept.add(sample)
    return set(table["sample_id"].to_pylist()) - (kept - marked)


class _Unscored:
    """Scores without a value, for methods that need none."""

    def __init__(self, reports: tuple[str, ...]) -> None:
        self._reports = reports

    def __call__(self, samples: Sequence[Sample]) -> Scores:
        return _scores(samples, {}, (), self._reports)


class _Scored:
    """The known scores of the data, and those of canaries, which are scored once."""

    def __init__(
        self,
        run: RunFolder,
        method: Method[Any],
        scoring: ScoringConfig,
        load: Callable[[], LoadedModel],
        limit: Callable[[], int],
    ) -> None:
        self._needs, self._reports = method.needs, method.reports
        self._scoring = scoring
        self._load = load
        self._limit = limit
        self._loaded: LoadedModel | None = None
        columns = ["sample_id", "status", *method.needs]
        table = parquet.table(run.scores, columns).to_pylist()
        self._known: dict[str, dict[str, float]] = {
            line["sample_id"]: {name: line[name] for name in method.needs}
            for line in table
            if line["status"] == SCORED
        }

    def __call__(self, samples: Sequence[Sample]) -> Scores:
        self._score([sample for sample in samples if sample.sample_id not in self._known])
        return _scores(samples, self._known, self._needs, self._reports)

    def _score(self, samples: Sequence[Sample]) -> None:
        if not samples:
            return
        self._loaded = self._loaded or self._load()
        outcomes = tokenize_all(samples, self._loaded.tokenizer, self._limit())
        fit = [
            (sample, outcome)
            for sample, outcome in zip(samples, outcomes, strict=True)
            if not isinstance(outcome, RejectedRowError)
        ]
        longest = max((len(tokens.input_ids) for _, tokens in fit), default=0)
        scorer = Scorer(self._loaded, self._scoring, longest)
        found = scorer.score([tokens for _, tokens in fit]) if fit else []
        for (sample, _), score in zip(fit, found, strict=True):
            self._known[sample.sample_id] = self._signals(score)

    def _signals(self, score: Score) -> dict[str, float]:
        entropy = score.entropy(self._scoring.mode)
        is_scored = score.status == SCORED and entropy is not None
        values = {name: getattr(score, name, entropy) for name in self._needs}
        return {
            name: float(value) if is_scored and value is not None else np.nan
            for name, value in values.items()
        }


def _scores(
    samples: Sequence[Sample],
    known: dict[str, dict[str, float]],
    needs: tuple[str, ...],
    reports: tuple[str, ...],
) -> Scores:
    """Scores of a copy; what is only reported of rows is not known of it."""
    ids = [sample.sample_id for sample in samples]
    nothing = dict.fromkeys(needs, np.nan)
    signals = {
        name: np.array([known.get(i, nothing)[name] for i in ids], np.float64) for name in needs
    }
    is_scored = np.ones(len(ids), bool)
    for values in signals.values():
        is_scored &= np.isfinite(values)
    unknown = {name: np.full(len(ids), np.nan) for name in reports if name not in needs}
    return Scores(np.arange(len(ids)), ids, is_scored, {**unknown, **signals})
