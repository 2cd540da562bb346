"""Scores of samples that are no rows: canaries, and the samples of a reference."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from transformers import PreTrainedTokenizerBase

from gradgate.common.arrays import Floats, Marks
from gradgate.common.run_folder import SCORED
from gradgate.config import DEFAULT_TEMPLATE_DATE, ScoringConfig
from gradgate.data.sample import RejectedRowError, Sample
from gradgate.data.tokens import Tokens, tokenize_all
from gradgate.gradients.safety import SafetySource
from gradgate.gradients.score import Score
from gradgate.gradients.token_logp import unpacked
from gradgate.methods.contract import Method, Scores
from gradgate.methods.tokens import NO_TOKENS, TokenRow, TokenTable
from gradgate.models.handle import ModelHandle
from gradgate.scoring.likelihood import Likelihood
from gradgate.scoring.samples import SampleScorer


@dataclass(frozen=True)
class CanaryModel:
    """How samples are scored that are no rows.

    Attributes:
        model: That scored the data.
        scoring: Mode and k.
        max_tokens: Longer samples get no score, as such rows would not.
        store: The score store; None for none.
        probes: What the data were held against; None for nothing.
        template_date: Today, as the data's chat template was told.
    """

    model: ModelHandle
    scoring: ScoringConfig
    max_tokens: int
    store: Path | None = None
    probes: SafetySource | None = None
    template_date: str = DEFAULT_TEMPLATE_DATE


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of a scored sample."""

    signals: dict[str, float]
    tokens: TokenRow


class OtherScores:
    """Scores samples for a method, each once; the model is loaded at the first that is new.

    Attributes:
        known: What is known so far, by the sample's id.
    """

    def __init__(self, method: Method[Any], canaries: CanaryModel) -> None:
        """Take who wants the scores, and what scores."""
        self.known: dict[str, Known] = {}
        self._method = method
        self._canaries = canaries
        probes = canaries.probes if method.needs_safety else None
        self._scorer = SampleScorer(canaries.model, canaries.scoring, canaries.store, probes)
        self._ask = Likelihood(canaries.model, canaries.scoring, canaries.store)

    @cached_property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """Of the model."""
        return self._canaries.model.tokenizer()

    def __call__(self, samples: Sequence[Sample]) -> Scores:
        """Score what is not known yet; a sample that cannot be scored is not marked as scored.

        What a method only reports of rows is not known of other samples.

        Raises:
            ModelError: The model cannot be loaded or is not fit to score.
            StoreError: The score store cannot be used.
        """
        self._score([sample for sample in samples if sample.sample_id not in self.known])
        ids = [sample.sample_id for sample in samples]
        known = [self.known.get(i) for i in ids]
        signals = {
            name: np.array([np.nan if one is None else one.signals[name] for one in known])
            for name in self._method.needs
        }
        is_scored = np.array([one is not None for one in known], bool)
        for values in signals.values():
            is_scored &= np.isfinite(values)
        scores = lines(ids, is_scored, signals, self._method.reports)
        if not self._method.needs_tokens:
            return scores
        rows = [NO_TOKENS if one is None else one.tokens for one in known]
        tokens = TokenTable.joined(rows, self.tokenizer)
        return replace(scores, tokens=tokens, ask=self._ask, is_copy=True, score=self)

    def _score(self, samples: Sequence[Sample]) -> None:
        limit = self._canaries.model.limit(self._canaries.max_tokens)
        today = self._canaries.template_date
        outcomes = tokenize_all(samples, self.tokenizer, limit, today)
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
                self.known[identifier] = known

    def _known_of(self, tokens: Tokens, score: Score) -> Known | None:
        entropy = score.entropy(self._canaries.scoring.mode)
        if score.status != SCORED or entropy is None or score.token_logp is None:
            return None
        there = {**asdict(score), "spectral_entropy": entropy, **score.against_probes()}
        values = {name: there.get(name) for name in self._method.needs}
        signals = {name: np.nan if value is None else value for name, value in values.items()}
        row = (
            np.array(tokens.input_ids, np.int32),
            np.array(tokens.is_target, bool),
            unpacked(score.token_logp).astype(np.float32),
        )
        return Known(signals, row)


def lines(
    ids: list[str], is_scored: Marks, signals: dict[str, Floats], reports: tuple[str, ...]
) -> Scores:
    """The lines of samples, numbered in their order; what is only reported is not known."""
    unknown = {name: np.full(len(ids), np.nan) for name in reports if name not in signals}
    return Scores(np.arange(len(ids)), ids, is_scored, {**unknown, **signals})
