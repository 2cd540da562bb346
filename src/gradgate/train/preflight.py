"""Whether a fine-tuning can begin, asked before the gate that goes before it."""

from pathlib import Path

import peft

from gradgate.common.disk import require_space
from gradgate.config import FinetuneConfig, ModelConfig
from gradgate.models.errors import translated_errors
from gradgate.models.locating import locate_adapter
from gradgate.models.skeleton import skeleton_of
from gradgate.models.targets import targets_of
from gradgate.tuning.full import adapter_refused
from gradgate.tuning.lora import require_same_settings

_FLOAT32 = 4  # bytes a parameter, as a fully tuned model is saved


def check_finetuning(model: ModelConfig, tuning: FinetuneConfig, output: Path) -> None:
    """Check the settings of a fine-tuning against its model; no weight is loaded.

    Args:
        model: The model to train.
        tuning: How.
        output: Where the result will be written.

    Raises:
        ConfigError: The settings do not fit the adapter, or there is no room for the result.
        ModelError: The model cannot be read, or has no such modules.
        TransientError: The hub did not answer.
    """
    if tuning.kind == "full":
        if model.adapter is not None:
            raise adapter_refused(model)
        n_parameters = sum(p.numel() for p in skeleton_of(model).parameters())
        require_space(output, _FLOAT32 * n_parameters, "the tuned model")
    elif model.adapter is not None:
        folder = locate_adapter(model.adapter).folder
        with translated_errors(f"adapter {model.adapter!r}"):
            settings = peft.PeftConfig.from_pretrained(str(folder))
        require_same_settings(settings, tuning)
    else:
        targets_of(skeleton_of(model), tuning.target_modules, model.path)
