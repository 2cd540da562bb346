"""The configuration of a drill."""

from pydantic import Field

from gradgate.config import AttackName, Section, TrackingConfig
from gradgate.train.config import GatedFinetuneConfig


class DrillSection(Section):
    """The attack of a drill, and how its outcome is measured."""

    attack: AttackName = Field("badnets", description="What is done to the poisoned rows.")
    rate: float = Field(0.1, gt=0, le=1, description="Poisoned part of the training rows.")
    seed: int = Field(
        0, ge=0, lt=2**32, description="Seed of the split, the poisoning and the bootstrap."
    )
    target: str | None = Field(None, description="Instead of the attack's own target.")
    trigger: str | None = Field(None, description="Instead of the attack's own trigger.")
    paraphraser: str | None = Field(
        None, description="stylebkd: folder or hub id of a model that rewrites the questions."
    )
    test_rows: int = Field(
        400,
        ge=1,
        description="Rows held back; with 400, no success at all means an ASR of at most 0.92 %.",
    )
    train_rows: int | None = Field(
        None, ge=1, description="At most so many of the other rows are used; all when absent."
    )
    reference: bool = Field(
        True, description="Also fine-tune on the clean rows, to say what the gate costs in CACC."
    )
    rehearsal: bool = Field(
        True,
        description="Also fine-tune on what a gate that rehearses groups in doubt leaves, where "
        "that is something else, unless detection.rehearsal is off.",
    )
    max_new_tokens: int | None = Field(
        None, ge=1, description="Longest answer; by the longest taught completion when absent."
    )
    batch_size: int = Field(32, ge=1, description="Prompts that are answered at the same time.")


class DrillConfig(GatedFinetuneConfig):
    """A drill: `data.source` is clean data, which the drill poisons itself."""

    tracking: TrackingConfig = TrackingConfig(experiment="gradgate-drill")
    drill: DrillSection = DrillSection()
