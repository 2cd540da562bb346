"""What decides a score besides the sample, as the score store knows it."""

from gradgate.config import ScoringConfig
from gradgate.models.identity import IdentifiedModel
from gradgate.scoring.store.row import ScoreContext


def score_context(model: IdentifiedModel, config: ScoringConfig) -> ScoreContext:
    """The context of scores by a model."""
    identity = model.identity
    return ScoreContext(
        model_sha256=str(identity["sha256"]),
        model_revision=identity["revision"],
        adapter_sha256=identity["adapter_sha256"],
        k=config.k,
        dtype=str(model.dtype).removeprefix("torch."),
        model_path=str(identity["path"]),
        adapter=identity["adapter"],
    )
