"""The configuration of a scoring run."""

from gradgate.config import DataConfig, ModelConfig, ScoringConfig, Section


class ScoreConfig(Section):
    """Which rows are scored, by which model, and how."""

    data: DataConfig
    model: ModelConfig
    scoring: ScoringConfig = ScoringConfig()
