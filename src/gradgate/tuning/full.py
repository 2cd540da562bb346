"""Full-parameter tuning: every parameter of the model that scored is trained, and all are saved."""

from pathlib import Path

import transformers
from peft import PeftModel

from gradgate.config import ModelConfig
from gradgate.errors import ConfigError, ModelError
from gradgate.models.loading import LoadedModel


def unfreeze(loaded: LoadedModel, model: ModelConfig) -> transformers.PreTrainedModel:
    """Make every parameter trainable, in float32; the files of the model are left as they are.

    In bfloat16 an update of less than 1/256 of a weight would be lost; the forward pass still
    computes in the type that scored. A step of AdamW takes 16 bytes a parameter.

    Raises:
        ConfigError: There is an adapter on the model.
        ModelError: The weights are quantised, so that they cannot be trained.
    """
    whole = loaded.model
    if isinstance(whole, PeftModel):
        raise adapter_refused(model)
    quantised = [name for name, p in whole.named_parameters() if not p.is_floating_point()]
    if quantised or getattr(whole, "is_quantized", False):
        raise ModelError(
            f"the weights of {model.path} are quantised and cannot be trained themselves; "
            "set finetune.kind to lora, or name a model that is not quantised"
        )
    return whole.float().requires_grad_(True)


def adapter_refused(model: ModelConfig) -> ConfigError:
    """Why an adapter cannot be tuned in full, to be raised."""
    return ConfigError(
        f"finetune.kind full trains a whole model, and model.adapter {model.adapter!r} is none; "
        "merge the adapter into its base model and name that, or set finetune.kind to lora"
    )


def save_model(tuned: transformers.PreTrainedModel, folder: Path) -> None:
    """Write the whole model as safetensors, in the float32 in which it was trained."""
    tuned.save_pretrained(str(folder))
