"""Scores of samples that are in memory, from the score store as far as it knows them."""

from collections.abc import Sequence
from pathlib import Path

from gradgate.common.run_folder import SCORED
from gradgate.config import ScoringConfig
from gradgate.data.tokens import Tokens, content_digest
from gradgate.gradients.safety import SafetyGradient, SafetySource
from gradgate.gradients.score import Score
from gradgate.gradients.scorer import Scorer
from gradgate.models.handle import ModelHandle
from gradgate.models.identity import IdentifiedModel
from gradgate.models.loading import LoadedModel
from gradgate.scoring.context import score_context
from gradgate.scoring.store.scores import ScoreStore


class SampleScorer:
    """Scores samples, some at a time; model and scorer are made when something has to be scored."""

    def __init__(
        self,
        model: ModelHandle,
        config: ScoringConfig,
        store_path: Path | None = None,
        probes: SafetySource | None = None,
    ) -> None:
        """Take what scores.

        Args:
            model: Identified at the first sample, loaded at the first that is not in the store.
            config: Mode, k and size of the steps.
            store_path: The score store; None for none.
            probes: What the samples are held against; its gradient is taken when the model is
                loaded.
        """
        self._handle = model
        self._config = config
        self._store_path = store_path
        self._probes = probes
        self._safety: SafetyGradient | None = None
        self._model: IdentifiedModel | None = None
        self._loaded: LoadedModel | None = None
        self._scorer: Scorer | None = None
        self._longest = 0

    def __call__(self, samples: Sequence[Tokens]) -> list[Score]:
        """Score samples, in their order; they may be equal to one another.

        Raises:
            ModelError: The model cannot be loaded, or its logits are not those of a linear head.
            StoreError: The store cannot be used, or its disk is full.
        """
        by_key = {content_digest(sample): sample for sample in samples}
        if not by_key:
            return []
        self._model = self._model or self._handle.identify()
        if self._store_path is None:
            found = self._scored(by_key)
        else:
            context = score_context(self._model, self._config, self._probes)
            with ScoreStore(self._store_path, context) as store:
                stored = store.get(list(by_key)).items()
                found = {key: score for key, score in stored if score.status == SCORED}
                new = self._scored({k: s for k, s in by_key.items() if k not in found})
                store.put(new)
                found |= new
        return [found[content_digest(sample)] for sample in samples]

    def loaded(self) -> LoadedModel:
        """The model; it is loaded once.

        Raises:
            ModelError: It cannot be loaded.
        """
        self._model = self._model or self._handle.identify()
        self._loaded = self._loaded or self._model.load()
        return self._loaded

    def _scored(self, samples: dict[bytes, Tokens]) -> dict[bytes, Score]:
        if not samples:
            return {}
        longest = max(len(sample.input_ids) for sample in samples.values())
        if self._scorer is None or longest > self._longest:
            loaded = self.loaded()
            if self._probes is not None and self._safety is None:
                self._safety = self._probes.build(loaded)
            self._longest = 2 ** longest.bit_length()  # few longer ones make a new scorer
            self._scorer = Scorer(loaded, self._config, self._longest, safety=self._safety)
        found = self._scorer.score(list(samples.values()))
        return dict(zip(samples, found, strict=True))
