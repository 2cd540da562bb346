"""The configuration of rehearsals."""

from typing import Literal

from pydantic import Field

from gradgate.config import Section

RehearsalMode = Literal["off", "doubtful", "full"]

MIN_REFERENCE = 64  # samples of a reference, without which none is trained on


class RehearsalConfig(Section):
    """How much a rehearsal may train (docs/rehearsal.md)."""

    visits_per_row: float = Field(
        1.2,
        gt=0,
        description="Training steps of one row that it may take, for each row of the data: 1.2 are "
        "0.4 of a fine-tuning of three epochs.",
    )
    max_visits: int = Field(4_000, ge=1, description="And at most so many.")
    max_rows: int = Field(512, ge=32, description="Rows that are rehearsed at most.")
    max_groups: int = Field(8, ge=1, description="Groups that are asked about, the largest.")
    r: int = Field(16, ge=1, description="Rank of the adapter.")
    target_modules: list[str] | Literal["all-linear"] = Field(
        "all-linear", description="As finetune.target_modules, which goes before in gated-finetune."
    )
    learning_rate: float = Field(1e-3, gt=0, description="Peak learning rate.")
    batch_size: int = Field(
        4, ge=1, description="Rows per step; never more than those of the fine-tuning behind it."
    )
    seed: int = Field(0, ge=0, lt=2**32, description="Seed of rows, folds and training.")
