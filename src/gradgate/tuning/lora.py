"""A LoRA adapter by peft: put on the model that scored, or trained further, and saved."""

import warnings
from pathlib import Path

import peft
import transformers
from peft import PeftModel

from gradgate.config import FinetuneConfig, ModelConfig
from gradgate.errors import ConfigError, ModelError
from gradgate.models.errors import translated_errors
from gradgate.models.loading import LoadedModel
from gradgate.models.targets import targets_of


def adapt(loaded: LoadedModel, model: ModelConfig, tuning: FinetuneConfig) -> PeftModel:
    """Put a trainable adapter on the model, or make the one that it has trainable.

    Raises:
        ConfigError: The settings are not those of the adapter that is there.
        ModelError: The model has no such modules, or its adapter is not a LoRA.
    """
    if isinstance(loaded.model, PeftModel):
        adapted = _resume(loaded.model, tuning)
    else:
        adapted = _attach(loaded.model, model, tuning)
    # What is saved has to name its base model as configured, at the commit that was scored.
    adapter = adapted.peft_config[adapted.active_adapter]
    adapter.base_model_name_or_path = model.path
    adapter.revision = loaded.identity["revision"]
    return adapted


def _attach(
    base: transformers.PreTrainedModel, model: ModelConfig, tuning: FinetuneConfig
) -> PeftModel:
    settings = peft.LoraConfig(
        task_type="CAUSAL_LM",
        r=tuning.r,
        lora_alpha=tuning.alpha,
        lora_dropout=tuning.dropout,
        target_modules=targets_of(base, tuning.target_modules, model.path),
    )
    with (
        translated_errors(f"{tuning.target_modules} of {model.path}", "adapt"),
        warnings.catch_warnings(),
    ):
        # peft 0.21 asks transformers 5 by a name that it will drop in version 6.
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)
        return peft.get_peft_model(base, settings)


def _resume(adapted: PeftModel, tuning: FinetuneConfig) -> PeftModel:
    has = adapted.peft_config[adapted.active_adapter]
    require_same_settings(has, tuning)
    has.inference_mode = False
    adapted.set_adapter(adapted.active_adapter)  # makes its parameters trainable
    return adapted


def require_same_settings(has: peft.PeftConfig, tuning: FinetuneConfig) -> None:
    """Refuse to train an adapter further with other settings than its own.

    Raises:
        ConfigError: The settings differ.
        ModelError: The adapter is no LoRA.
    """
    if has.peft_type != peft.PeftType.LORA:
        kind = getattr(has.peft_type, "value", has.peft_type)
        raise ModelError(f"the adapter is of type {kind}; only LORA can be trained")
    theirs: dict[str, object] = {"r": has.r, "alpha": has.lora_alpha, "dropout": has.lora_dropout}
    ours: dict[str, object] = {"r": tuning.r, "alpha": tuning.alpha, "dropout": tuning.dropout}
    if tuning.target_modules != "all-linear":
        theirs["target_modules"] = modules_of(has)
        ours["target_modules"] = sorted(tuning.target_modules)
    if ours != theirs:
        raise ConfigError(
            f"model.adapter is trained further as it is, with {theirs}, but finetune says {ours}; "
            "set finetune to the adapter's settings"
        )


def modules_of(adapter: peft.LoraConfig) -> list[str]:
    """Names of the adapted modules; peft also knows a single regular expression."""
    names = adapter.target_modules
    return [names] if isinstance(names, str) else sorted(names)


def save_adapter(adapted: PeftModel, folder: Path, is_resized: bool) -> None:
    """Write the adapter alone, as safetensors with its settings.

    Args:
        adapted: The model with its adapter.
        folder: Where to write.
        is_resized: Whether the adapter that was trained further brings its own embedding, which
            then belongs to what is saved.
    """
    # save_embedding_layers=auto would ask the hub for the base model's vocabulary.
    adapted.save_pretrained(str(folder), safe_serialization=True, save_embedding_layers=is_resized)
