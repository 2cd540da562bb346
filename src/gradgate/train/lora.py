"""LoRA fine-tuning by peft and transformers' Trainer, on the samples that a gate run accepted.

There is no other way to a saved adapter: `finetune` recomputes every fingerprint of the verdict
before it loads the model, and once more while it writes the rows that the Trainer reads. A drill
trains by `adapt` and `train` alone, which save nothing.
"""

import json
import logging
import math
import shutil
import sys
import warnings
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import peft
import torch
import transformers
from datasets import Dataset
from peft import PeftModel
from torch import Tensor, nn
from transformers import Trainer, TrainerCallback, TrainingArguments
from transformers.pytorch_utils import Conv1D

from gradgate.common.files import folder_written_whole
from gradgate.config import LoraConfig, ModelConfig
from gradgate.errors import ConfigError, DataError, ModelError
from gradgate.gate.acceptance import IGNORED, require_passing, write_accepted
from gradgate.gate.verdict import Verdict
from gradgate.models.identity import load_model
from gradgate.models.loading import LoadedModel
from gradgate.train.model_card import CardFacts, build_card

logger = logging.getLogger(__name__)

LIBRARIES = ("gradgate", "torch", "transformers", "peft", "datasets", "safetensors")


@dataclass(frozen=True)
class FinetuneResult:
    """What a fine-tuning run did.

    Attributes:
        adapter: The folder with the adapter.
        n_samples: Accepted samples, each seen once an epoch.
        train_loss: Mean loss over all steps, in nats.
        seconds: Time of the training loop; loading and saving not included.
        n_parameters: Trainable parameters.
    """

    adapter: Path
    n_samples: int
    steps: int
    train_loss: float
    seconds: float
    n_parameters: int


def finetune(
    run_dir: Path,
    verdict: Verdict,
    model: ModelConfig,
    lora: LoraConfig,
    output: Path,
    gate_run: str,
    source: str,
) -> FinetuneResult:
    """Fine-tune on the accepted samples of a gate run; the adapter appears when it is whole.

    An adapter in `model` is trained further and not merged: what is saved applies to the base
    model that it names, like any other adapter. Its rank, scale, dropout and modules are part of
    it, so `lora` must state the same ones (`all-linear` stands for the modules it has).

    On a CPU the same seed gives the same adapter. The process's random generators are seeded.

    Args:
        run_dir: Folder of the gate run; its samples.parquet and flags.parquet are read.
        verdict: What the gate decided, as its caller knows it; the folder's own is not read.
        model: The model that scored, which is also the one to train.
        lora: The training settings.
        output: The folder to make.
        gate_run: Id of the gate run, for the model card.
        source: The dataset's name, for the model card.

    Raises:
        NotAcceptedError: The verdict is no pass, or the files of the run changed since.
        DataError: A file of the run is broken, or `output` exists.
        ConfigError: The settings do not fit the adapter or the device.
        ModelError: The model is another than the one that scored, has no such modules, or its
            loss is not finite; nothing is kept.
    """
    require_passing(run_dir, verdict)
    if output.exists():
        raise DataError(f"{output} exists; remove it or name another output folder")
    loaded = load_model(model)
    _check_same_model(verdict, loaded)
    with folder_written_whole(output) as part:
        work = part / "work"
        work.mkdir()
        accepted = write_accepted(run_dir, verdict, work / "accepted.arrow")
        transformers.set_seed(lora.seed)
        adapted = adapt(loaded, model, lora)
        rows = Dataset.from_file(str(work / "accepted.arrow"))
        trained = train(adapted, loaded, rows, lora, work)
        facts = CardFacts(
            model=model,
            lora=lora,
            verdict=verdict,
            source=source,
            gate_run=gate_run,
            n_accepted=accepted.n,
            n_parameters=sum(p.numel() for p in _trainable(adapted)),
            **_course(trained),
        )
        _save(adapted, loaded, facts, part)
        shutil.rmtree(work)
    return _result(output, facts)


def _course(trained: transformers.trainer_utils.TrainOutput) -> dict[str, Any]:
    return {
        "steps": trained.global_step,
        "train_loss": trained.training_loss,
        "seconds": trained.metrics["train_runtime"],
        "versions": {name: version(name) for name in LIBRARIES},
    }


def _result(adapter: Path, facts: CardFacts) -> FinetuneResult:
    n, steps, loss = facts.n_accepted, facts.steps, facts.train_loss
    logger.info("fine-tuned on %d samples in %d steps, loss %.4f", n, steps, loss)
    return FinetuneResult(
        adapter=adapter,
        n_samples=facts.n_accepted,
        steps=facts.steps,
        train_loss=facts.train_loss,
        seconds=facts.seconds,
        n_parameters=facts.n_parameters,
    )


def _check_same_model(verdict: Verdict, loaded: LoadedModel) -> None:
    scored, here = verdict.model, loaded.identity
    keys = [key for key in {**scored, **here} if key not in scored or scored[key] != here.get(key)]
    if keys:
        changes = "; ".join(f"{key}: {scored.get(key)!r}, now {here.get(key)!r}" for key in keys)
        raise ModelError(
            f"this is not the model that scored the dataset ({changes}); "
            "name that model, or run the gate again with this one"
        )


def adapt(loaded: LoadedModel, model: ModelConfig, lora: LoraConfig) -> PeftModel:
    """Put a trainable adapter on the model, or make the one that it has trainable.

    Raises:
        ConfigError: The settings are not those of the adapter that is there.
        ModelError: The model has no such modules, or its adapter is not a LoRA.
    """
    if isinstance(loaded.model, PeftModel):
        adapted = _resume(loaded.model, lora)
    else:
        adapted = _attach(loaded.model, model, lora)
    # What is saved has to name its base model as configured, at the commit that was scored.
    adapter = adapted.peft_config[adapted.active_adapter]
    adapter.base_model_name_or_path = model.path
    adapter.revision = loaded.identity["revision"]
    return adapted


def _attach(base: transformers.PreTrainedModel, model: ModelConfig, lora: LoraConfig) -> PeftModel:
    if lora.target_modules != "all-linear":
        _check_targets(base, model.path, lora.target_modules)
    settings = peft.LoraConfig(
        task_type="CAUSAL_LM",
        r=lora.r,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=lora.target_modules,  # peft leaves the head out of all-linear
    )
    try:
        with warnings.catch_warnings():
            # peft 0.21 asks transformers 5 by a name that it will drop in version 6.
            warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)
            return peft.get_peft_model(base, settings)
    except ValueError as error:
        raise ModelError(f"cannot adapt {lora.target_modules} of {model.path}: {error}") from error


def _check_targets(base: nn.Module, path: str, targets: list[str]) -> None:
    """Refuse a name without a module: peft skips it when another name of the list is known."""
    linear = [name for name, m in base.named_modules() if isinstance(m, (nn.Linear, Conv1D))]
    unknown = [t for t in targets if not any(f".{name}".endswith(f".{t}") for name in linear)]
    if unknown or not targets:
        known = sorted({name.rpartition(".")[2] for name in linear})
        raise ModelError(
            f"lora.target_modules {targets}: {path} has no linear module {unknown}; "
            f"it has {', '.join(known)}"
        )


def _resume(adapted: PeftModel, lora: LoraConfig) -> PeftModel:
    has = adapted.peft_config[adapted.active_adapter]
    if has.peft_type != peft.PeftType.LORA:
        raise ModelError(f"the adapter is of type {has.peft_type.value}; only LORA can be trained")
    theirs: dict[str, object] = {"r": has.r, "alpha": has.lora_alpha, "dropout": has.lora_dropout}
    ours: dict[str, object] = {"r": lora.r, "alpha": lora.alpha, "dropout": lora.dropout}
    if lora.target_modules != "all-linear":
        theirs["target_modules"] = _modules(has)
        ours["target_modules"] = sorted(lora.target_modules)
    if ours != theirs:
        raise ConfigError(
            f"model.adapter is trained further as it is, with {theirs}, but lora says {ours}; "
            "set lora to the adapter's settings"
        )
    has.inference_mode = False
    adapted.set_adapter(adapted.active_adapter)  # makes its parameters trainable
    return adapted


def _modules(adapter: peft.LoraConfig) -> list[str]:
    """Names of the adapted modules; peft also knows a single regular expression."""
    names = adapter.target_modules
    return [names] if isinstance(names, str) else sorted(names)


def _trainable(model: nn.Module) -> list[nn.Parameter]:
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def train(
    adapted: PeftModel, loaded: LoadedModel, rows: Dataset, lora: LoraConfig, work: Path
) -> transformers.trainer_utils.TrainOutput:
    """Train the adapter in place.

    Args:
        adapted: What `adapt` made of `loaded`.
        loaded: The model.
        rows: `input_ids` and `labels` of each sample.
        lora: The training settings.
        work: Folder for the Trainer's own files.

    Raises:
        ConfigError: The settings do not fit the device.
        ModelError: Out of memory, or the loss or the weights are not finite.
    """
    arguments = _arguments(loaded, lora, work)
    trainer = Trainer(
        adapted, arguments, data_collator=collate, train_dataset=rows, callbacks=[_Watch()]
    )
    trainer.remove_callback(transformers.PrinterCallback)  # it prints to stdout without a terminal
    try:
        trained = trainer.train()
    except torch.OutOfMemoryError as error:
        raise ModelError(
            f"out of memory with lora.batch_size {lora.batch_size}; make it or data.max_tokens "
            "smaller"
        ) from error
    if not all(bool(parameter.isfinite().all()) for parameter in _trainable(adapted)):
        raise ModelError("the adapter's weights are not finite after the last step")
    return trained


def _arguments(loaded: LoadedModel, lora: LoraConfig, work: Path) -> TrainingArguments:
    if loaded.device.index:
        raise ConfigError(
            f"the Trainer uses the first visible GPU; instead of model.device {loaded.device} set "
            f"CUDA_VISIBLE_DEVICES={loaded.device.index}"
        )
    arguments = TrainingArguments(
        output_dir=str(work / "trainer"),
        num_train_epochs=lora.epochs,
        learning_rate=lora.learning_rate,
        per_device_train_batch_size=lora.batch_size,
        seed=lora.seed,
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


class _Watch(TrainerCallback):
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
                f"a lower lora.learning_rate than {args.learning_rate} may help"
            )
        if "loss" in logs:
            logger.info(
                "step %d of %d: loss %.4f", state.global_step, state.max_steps, logs["loss"]
            )


def _save(adapted: PeftModel, loaded: LoadedModel, facts: CardFacts, folder: Path) -> None:
    # save_embedding_layers=auto would ask the hub for the base model's vocabulary.
    adapted.save_pretrained(str(folder), safe_serialization=True, save_embedding_layers=False)
    loaded.tokenizer.save_pretrained(str(folder))
    build_card(facts).save(folder / "README.md")  # over peft's
    record = {
        **asdict(facts),
        "model": facts.model.model_dump(),
        "lora": facts.lora.model_dump(),
        "target_modules": _modules(adapted.peft_config[adapted.active_adapter]),
    }
    text = json.dumps(record, indent=2, allow_nan=False) + "\n"
    (folder / "training.json").write_text(text, encoding="utf-8")
