"""The configuration of a gate and of the fine-tuning behind it."""

from typing import Self

from pydantic import model_validator

from gradgate.config import LoraConfig
from gradgate.gate.config import GateConfig


class GatedFinetuneConfig(GateConfig):
    """A gate run, and the fine-tuning that follows when it passes."""

    lora: LoraConfig = LoraConfig()

    @model_validator(mode="after")
    def _first_gpu(self) -> Self:
        if self.model.device.startswith("cuda:") and self.model.device != "cuda:0":
            raise ValueError(
                f"the Trainer uses the first visible GPU; instead of model.device "
                f"{self.model.device} set CUDA_VISIBLE_DEVICES={self.model.device[5:]}"
            )
        return self
