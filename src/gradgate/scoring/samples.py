"""Scores of samples that are in memory, from the score store as far as it knows them."""

from collections.abc import Sequence
from pathlib import Path

from gradgate.common.run_folder import SCORED
from gradgate.config import ScoringConfig
from gradgate.data.tokens import Tokens, content_digest
from gradgate.gradients.score import Score
from gradgate.gradients.scorer import Scorer
from gradgate.models.identity import IdentifiedModel
from gradgate.scoring.context import score_context
from gradgate.scoring.store.scores import ScoreStore


def score_samples(
    samples: Sequence[Tokens],
    model: IdentifiedModel,
    config: ScoringConfig,
    store_path: Path | None = None,
) -> list[Score]:
    """Score samples, in their order.

    Args:
        samples: May be equal to one another.
        model: It is loaded when there is something to score.
        config: Mode, k and size of the steps.
        store_path: The score store; None for none.

    Raises:
        ModelError: The model cannot be loaded, or its logits are not those of a linear head.
        StoreError: The store cannot be used, or its disk is full.
    """
    by_key = {content_digest(sample): sample for sample in samples}
    if store_path is None:
        found = _scored(by_key, model, config)
    else:
        with ScoreStore(store_path, score_context(model, config)) as store:
            stored = store.get(list(by_key)).items()
            found = {key: score for key, score in stored if score.status == SCORED}
            new = _scored({k: s for k, s in by_key.items() if k not in found}, model, config)
            store.put(new)
            found |= new
    return [found[content_digest(sample)] for sample in samples]


def _scored(
    samples: dict[bytes, Tokens], model: IdentifiedModel, config: ScoringConfig
) -> dict[bytes, Score]:
    if not samples:
        return {}
    longest = max(len(sample.input_ids) for sample in samples.values())
    scores = Scorer(model.load(), config, longest).score(list(samples.values()))
    return dict(zip(samples, scores, strict=True))
