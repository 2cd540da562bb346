"""The scores of a copy with canaries: known ones of the data, and those of the canaries."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from gradgate.common.arrays import Floats, Marks
from gradgate.common.run_folder import SCORED, RunFolder
from gradgate.config import ScoringConfig
from gradgate.data.sample import RejectedRowError, Sample
from gradgate.data.tokens import Tokens, tokenize_all
from gradgate.gradients.score import Score
from gradgate.gradients.token_logp import unpacked
from gradgate.methods.contract import Method, Scores
from gradgate.methods.tokens import NO_TOKENS, TokenRow, TokenTable
from gradgate.models.handle import ModelHandle
from gradgate.scoring.likelihood import Likelihood
from gradgate.scoring.samples import SampleScorer


@dataclass(frozen=True)
class CanaryModel:
    """How canaries are scored.

    Attributes:
        model: That scored the data.
        scoring: Mode and k.
        max_tokens: Longer canaries are left out, as such rows would be.
        store: The score store; None for none.
    """

    model: ModelHandle
    scoring: ScoringConfig
    max_tokens: int
    store: Path | None = None


@dataclass(frozen=True, slots=True)
class _Known:
    """What is known of a scored sample."""

    signals: dict[str, float]
    tokens: TokenRow


class Unscored:
    """Scores without a value, for methods that need none."""

    def __init__(self, reports: tuple[str, ...]) -> None:
        """Take the signals that the method reports."""
        self._reports = reports

    def __call__(self, samples: Sequence[Sample]) -> Scores:
        """Say of each sample that it was scored, and nothing else."""
        ids = [sample.sample_id for sample in samples]
        return _scores(ids, np.ones(len(ids), bool), {}, self._reports)


class CopyScores:
    """The known scores of the data, and those of canaries, which are scored once."""

    def __init__(self, run: RunFolder, method: Method[Any], canaries: CanaryModel) -> None:
        """Read the scores of a run; errors as for `Scores.read` and `TokenTable.read`."""
        self._method = method
        self._canaries = canaries
        self._tokenizer = canaries.model.tokenizer()
        self._scorer = SampleScorer(canaries.model, canaries.scoring, canaries.store)
        self._ask = Likelihood(canaries.model, canaries.scoring, canaries.store)
        scores = Scores.read(run.scores, method.needs)
        tokens = TokenTable.read(run, scores, self._tokenizer) if method.needs_tokens else None
        self._known: dict[str, _Known] = {}
        for i in np.flatnonzero(scores.is_scored).tolist():
            signals = {name: float(values[i]) for name, values in scores.signals.items()}
            row = NO_TOKENS if tokens is None else tokens.row(i)
            self._known[scores.sample_ids[i]] = _Known(signals, row)

    def __call__(self, samples: Sequence[Sample]) -> Scores:
        """Score what is not known yet; what is only reported of rows is not known of a copy.

        Raises:
            ModelError: The model cannot be loaded or is not fit to score.
            StoreError: The score store cannot be used.
        """
        self._score([sample for sample in samples if sample.sample_id not in self._known])
        ids = [sample.sample_id for sample in samples]
        known = [self._known.get(i) for i in ids]
        signals = {
            name: np.array([np.nan if one is None else one.signals[name] for one in known])
            for name in self._method.needs
        }
        is_scored = np.array([one is not None for one in known], bool)
        for values in signals.values():
            is_scored &= np.isfinite(values)
        scores = _scores(ids, is_scored, signals, self._method.reports)
        if not self._method.needs_tokens:
            return scores
        rows = [NO_TOKENS if one is None else one.tokens for one in known]
        tokens = TokenTable.joined(rows, self._tokenizer)
        return replace(scores, tokens=tokens, ask=self._ask)

    def _score(self, samples: Sequence[Sample]) -> None:
        limit = self._canaries.model.limit(self._canaries.max_tokens)
        outcomes = tokenize_all(samples, self._tokenizer, limit)
        fit = {
            sample.sample_id: outcome
            for sample, outcome in zip(samples, outcomes, strict=True)
            if not isinstance(outcome, RejectedRowError)
        }
        if not fit:
            return
        found = self._scorer(list(fit.values()))
        for (identifier, tokens), score in zip(fit.items(), found, strict=True):
            known = self._known_of(tokens, score)
            if known is not None:
                self._known[identifier] = known

    def _known_of(self, tokens: Tokens, score: Score) -> _Known | None:
        entropy = score.entropy(self._canaries.scoring.mode)
        if score.status != SCORED or entropy is None or score.token_logp is None:
            return None
        values = {name: getattr(score, name, entropy) for name in self._method.needs}
        signals = {name: np.nan if value is None else value for name, value in values.items()}
        row = (
            np.array(tokens.input_ids, np.int32),
            np.array(tokens.is_target, bool),
            unpacked(score.token_logp).astype(np.float32),
        )
        return _Known(signals, row)


def _scores(
    ids: list[str], is_scored: Marks, signals: dict[str, Floats], reports: tuple[str, ...]
) -> Scores:
    unknown = {name: np.full(len(ids), np.nan) for name in reports if name not in signals}
    return Scores(np.arange(len(ids)), ids, is_scored, {**unknown, **signals})
