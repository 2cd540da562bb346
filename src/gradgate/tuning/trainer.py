"""The training loop: transformers' Trainer, on the loss mask of the score."""

import logging
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import torch
import transformers
from datasets import Dataset
from peft import PeftModel
from torch import Tensor, nn
from transformers import PreTrainedModel, Trainer, TrainerCallback, TrainingArguments

from gradgate.config import FinetuneConfig, ModelConfig
from gradgate.data.tokenized import IGNORED
from gradgate.errors import ConfigError, ModelError
from gradgate.models.loading import LoadedModel
from gradgate.tuning.contradictions import Watch
from gradgate.tuning.full import unfreeze
from gradgate.tuning.lora import adapt

logger = logging.getLogger(__name__)


Tuned: TypeAlias = PeftModel | PreTrainedModel
_ASKED_AT = (0.5, 0.75)  # of the steps, whether a training is long enough


def make_trainable(loaded: LoadedModel, model: ModelConfig, tuning: FinetuneConfig) -> Tuned:
    """Say which parameters are trained: those of an adapter, or all of them.

    Raises:
        ConfigError: The settings do not fit the adapter that is there.
        ModelError: The model cannot be trained in this way.
    """
    return adapt(loaded, model, tuning) if tuning.kind == "lora" else unfreeze(loaded, model)


def trained_parameters(model: nn.Module) -> list[nn.Parameter]:
    """The parameters that a training changes; tied ones once."""
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def train(
    tuned: Tuned,
    loaded: LoadedModel,
    rows: Dataset,
    tuning: FinetuneConfig,
    work: Path,
    until: Callable[[], bool] | None = None,
    watch: Watch | None = None,
) -> transformers.trainer_utils.TrainOutput:
    """Train in place.

    Args:
        tuned: What `make_trainable` made of `loaded`.
        loaded: The model.
        rows: `input_ids` and `labels` of each sample; for `watch` also `row`, its number.
        tuning: The training settings.
        work: Folder for the Trainer's own files.
        until: Asked after a half and after three quarters of the steps, with the model in
            evaluation mode: whether that was enough.
        watch: Looks at each batch before it is learnt.

    Raises:
        ConfigError: The settings do not fit the device.
        ModelError: Out of memory, or the loss or the weights are not finite.
    """
    arguments = _arguments(loaded, tuning, work)
    callbacks = [_Finite()] if until is None else [_Finite(), _Until(tuned, until)]
    given = tuned, arguments, collate if watch is None else _numbered, rows
    trainer = Trainer(*given) if watch is None else _Watched(watch, *given)
    for callback in callbacks:
        trainer.add_callback(callback)
    trainer.remove_callback(transformers.PrinterCallback)  # it prints to stdout without a terminal
    try:
        trained = trainer.train()
    except torch.OutOfMemoryError as error:
        raise ModelError(
            f"out of memory with finetune.batch_size {tuning.batch_size}; make it or "
            "data.max_tokens smaller"
        ) from error
    if not all(bool(parameter.isfinite().all()) for parameter in trained_parameters(tuned)):
        raise ModelError("the trained weights are not finite after the last step")
    return trained


def _arguments(loaded: LoadedModel, tuning: FinetuneConfig, work: Path) -> TrainingArguments:
    if getattr(loaded.model, "hf_device_map", None):
        raise ConfigError(
            "a model that model.device_map spreads can be scored but not trained; leave "
            "model.device_map out, on a machine whose GPU holds the model"
        )
    if loaded.device.index:
        raise ConfigError(
            f"the Trainer uses the first visible GPU; instead of model.device {loaded.device} set "
            f"CUDA_VISIBLE_DEVICES={loaded.device.index}"
        )
    arguments = TrainingArguments(
        output_dir=str(work / "trainer"),
        num_train_epochs=tuning.epochs,
        learning_rate=tuning.learning_rate,
        per_device_train_batch_size=tuning.batch_size,
        seed=tuning.seed,
        use_cpu=loaded.device.type == "cpu",
        bf16=loaded.dtype == torch.bfloat16,
        dataloader_pin_memory=loaded.device.type == "cuda",
        logging_steps=0.05,  # twenty lines a run
        logging_nan_inf_filter=False,  # it would hide a loss that is NaN
        save_strategy="no",
        report_to="none",
        disable_tqdm=not sys.stderr.isatty(),
        remove_unused_columns=False,
    )
    arguments._n_gpu = min(arguments.n_gpu, 1)  # or it wraps the model in DataParallel
    return arguments


def collate(rows: list[dict[str, list[int]]]) -> dict[str, Tensor]:
    """Right-pad rows of `input_ids` and `labels` to a batch; padding carries no loss."""
    width = max(len(row["input_ids"]) for row in rows)

    def padded(key: str, fill: int) -> Tensor:  # (B, width)
        return torch.tensor([row[key] + [fill] * (width - len(row[key])) for row in rows])

    lengths = torch.tensor([len(row["input_ids"]) for row in rows])
    return {
        "input_ids": padded("input_ids", 0),
        "labels": padded("labels", IGNORED),
        "attention_mask": (torch.arange(width) < lengths[:, None]).long(),
    }


def _numbered(rows: list[dict[str, Any]]) -> dict[str, Tensor]:
    """The same as `collate`, with the numbers of the rows."""
    return {**collate(rows), "row": torch.tensor([row["row"] for row in rows])}


class _Watched(Trainer):
    """Shows each batch to a watch, with what the model makes of it before it is learnt."""

    def __init__(self, watch: Watch, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._watch = watch

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        numbers, labels = inputs.pop("row"), inputs["labels"]
        loss, outputs = super().compute_loss(model, inputs, True, num_items_in_batch)
        self._watch.take(numbers, labels, outputs.logits)
        return (loss, outputs) if return_outputs else loss


class _Finite(TrainerCallback):
    """Ends a run whose loss or gradient is not finite, and logs the others."""

    def on_log(
        self,
        args: TrainingArguments,
        state: transformers.TrainerState,
        control: transformers.TrainerControl,
        logs: dict[str, float],
        **kwargs: object,
    ) -> None:
        bad = {key: value for key, value in logs.items() if not math.isfinite(value)}
        if bad:
            raise ModelError(
                f"not finite by step {state.global_step} of the training: {bad}; nothing is kept; "
                f"a lower finetune.learning_rate than {args.learning_rate} may help"
            )
        if "loss" in logs:
            logger.info(
                "step %d of %d: loss %.4f", state.global_step, state.max_steps, logs["loss"]
            )


class _Until(TrainerCallback):
    """Ends a run that has done enough."""

    def __init__(self, tuned: Tuned, until: Callable[[], bool]) -> None:
        self._tuned = tuned
        self._until = until

    def on_step_end(
        self,
        args: TrainingArguments,
        state: transformers.TrainerState,
        control: transformers.TrainerControl,
        **kwargs: object,
    ) -> None:
        if state.global_step not in [int(part * state.max_steps) for part in _ASKED_AT]:
            return
        self._tuned.eval()
        with torch.no_grad():
            control.should_training_stop = self._until()
        self._tuned.train()
