"""The configuration of the adapter test."""

from pydantic import Field

from gradgate.config import Section
from gradgate.gate.config import GateConfig


class AdapterTestConfig(Section):
    """The test of what was learnt, before an adapter is released (docs/adapter-test.md)."""

    enabled: bool = Field(
        True,
        description="gated-finetune: release what was trained only when its test passes; without "
        "it nothing is tested or held back.",
    )
    prompts: int = Field(
        32,
        ge=24,
        le=1_000,
        description="Ordinary prompts on which a suspicious change is asked; others on a quarter.",
    )
    held_out: float = Field(
        0.02,
        ge=0,
        le=0.5,
        description="gated-finetune: part of the accepted samples that nothing is trained on, and "
        "whose prompts are asked first; at most 128, and none where they would be fewer than 8.",
    )
    trained_on_data: bool = Field(
        False,
        description="test-adapter: the data are what was trained on, so that a string that no row "
        "teaches is the confusion of the model and does not count; always so in gated-finetune.",
    )
    max_new_tokens: int = Field(
        24,
        ge=4,
        le=1_024,
        description="Longest answer; longer ones are asked to their end where nine tenths of the "
        "targets have at most 64 tokens.",
    )
    max_groups: int = Field(
        16, ge=0, description="At most so many groups of rows whose words are put into prompts."
    )
    batch_size: int = Field(128, ge=1, description="Prompts that are answered at the same time.")
    seed: int = Field(
        0, ge=0, lt=2**32, description="Draws the prompts and where changes are made."
    )


class TestAdapterConfig(GateConfig):
    """What is asked of a model that was fine-tuned elsewhere, and on which data."""

    adapter_test: AdapterTestConfig = AdapterTestConfig()
