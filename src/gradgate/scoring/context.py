"""What decides a score besides the sample, as the score store knows it."""

from gradgate.config import ScoringConfig
from gradgate.gradients.safety import SafetySource
from gradgate.models.identity import IdentifiedModel
from gradgate.scoring.store.row import ScoreContext


def score_context(
    model: IdentifiedModel, config: ScoringConfig, probes: SafetySource | None = None
) -> ScoreContext:
    """The context of scores by a model, held against a probing set if there is one."""
    identity = model.identity
    return ScoreContext(
        model_sha256=str(identity["sha256"]),
        model_revision=identity["revision"],
        adapter_sha256=identity["adapter_sha256"],
        k=config.k,
        dtype=str(model.dtype).removeprefix("torch."),
        model_path=str(identity["path"]),
        adapter=identity["adapter"],
        probes_sha256=None if probes is None else probes.digest,
    )
