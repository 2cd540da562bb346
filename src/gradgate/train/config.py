"""The configuration of a gate and of the fine-tuning behind it."""

from collections.abc import Mapping
from typing import Any, Self

from pydantic import field_validator, model_validator

from gradgate.config import FinetuneConfig
from gradgate.gate.config import GateConfig, moved
from gradgate.methods.rehearsal.config import RehearsalConfig, RehearsalMode
from gradgate.release.config import AdapterTestConfig

MAX_REHEARSED = 0.4  # of the steps of the fine-tuning: with its questions a rehearsal costs half


class GatedFinetuneConfig(GateConfig):
    """A gate run, the fine-tuning that follows when it passes, and the test of what it taught."""

    finetune: FinetuneConfig = FinetuneConfig()
    adapter_test: AdapterTestConfig = AdapterTestConfig(trained_on_data=True)

    @field_validator("adapter_test")
    @classmethod
    def _is_trained_on_data(cls, asked: AdapterTestConfig) -> AdapterTestConfig:
        """What is tested was trained on the rows of the gate and on nothing else."""
        if "trained_on_data" in asked.model_fields_set and not asked.trained_on_data:
            raise ValueError(
                "trained_on_data is true here, for what is tested was trained on these data alone; "
                "leave it out"
            )
        return asked.model_copy(update={"trained_on_data": True})

    @classmethod
    def with_todays_keys(cls, content: Mapping[str, Any]) -> Mapping[str, Any]:
        """See `Section.with_todays_keys`."""
        return super().with_todays_keys(moved(content, {("lora",): ("finetune",)}))

    @property
    def rehearsal(self) -> RehearsalMode:
        """See `detection.rehearsal`."""
        return self.detection.rehearsal or "doubtful"

    @property
    def rehearsals(self) -> RehearsalConfig:
        """How much a rehearsal may train: never more than a part of the fine-tuning behind it.

        It takes that one's modules and no larger steps, for what fits there fits here.
        """
        given, tuning = self.detection.rehearsals, self.finetune
        changes: dict[str, object] = {
            "visits_per_row": min(given.visits_per_row, MAX_REHEARSED * tuning.epochs),
            "batch_size": min(given.batch_size, tuning.batch_size),
        }
        if tuning.kind == "lora":
            changes["target_modules"] = tuning.target_modules
        return given.model_copy(update=changes)

    @model_validator(mode="after")
    def _good_answers(self) -> Self:
        if self.data.preference != "chosen":
            raise ValueError(
                f"data.preference {self.data.preference} takes answers that people turned down for "
                "targets, which may be judged (gradgate detect, the flow gate) and are not trained "
                "on; leave it out"
            )
        return self

    @model_validator(mode="after")
    def _first_gpu(self) -> Self:
        if self.model.device.startswith("cuda:") and self.model.device != "cuda:0":
            raise ValueError(
                f"the Trainer uses the first visible GPU; instead of model.device "
                f"{self.model.device} set CUDA_VISIBLE_DEVICES={self.model.device[5:]}"
            )
        return self
