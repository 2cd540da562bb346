"""The configuration of a gate and of the fine-tuning behind it."""

from collections.abc import Mapping
from typing import Any, Self

from pydantic import model_validator

from gradgate.config import FinetuneConfig
from gradgate.gate.config import GateConfig, moved
from gradgate.methods.rehearsal.config import RehearsalMode


class GatedFinetuneConfig(GateConfig):
    """A gate run, and the fine-tuning that follows when it passes."""

    finetune: FinetuneConfig = FinetuneConfig()

    @classmethod
    def with_todays_keys(cls, content: Mapping[str, Any]) -> Mapping[str, Any]:
        """See `Section.with_todays_keys`."""
        return super().with_todays_keys(moved(content, {("lora",): ("finetune",)}))

    @property
    def rehearsal(self) -> RehearsalMode:
        """See `detection.rehearsal`."""
        return self.detection.rehearsal or "doubtful"

    @model_validator(mode="after")
    def _first_gpu(self) -> Self:
        if self.model.device.startswith("cuda:") and self.model.device != "cuda:0":
            raise ValueError(
                f"the Trainer uses the first visible GPU; instead of model.device "
                f"{self.model.device} set CUDA_VISIBLE_DEVICES={self.model.device[5:]}"
            )
        return self
