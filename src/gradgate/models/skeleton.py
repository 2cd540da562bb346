"""A model without its weights: which modules it has, of which shapes, before anything is loaded."""

from importlib.util import find_spec

import torch
import transformers
from transformers import AutoConfig, AutoModelForCausalLM

from gradgate.config import ModelConfig
from gradgate.errors import ModelError
from gradgate.models.errors import translated_errors
from gradgate.models.folder import check_weights
from gradgate.models.locating import Located, locate_model, options


def load_settings(config: ModelConfig, located: Located) -> transformers.PretrainedConfig:
    """The configuration of a model that was located; errors as for `load_model`."""
    with translated_errors(f"the configuration of {config.path!r}"):
        settings = AutoConfig.from_pretrained(config.path, **options(located))
    parts = (getattr(settings, name, None) for name in settings.sub_configs)
    for part in (settings, *parts):
        kernel = getattr(part, "_attn_implementation", None)
        if isinstance(kernel, str) and _is_of_hub(kernel):
            raise ModelError(
                f"the configuration of {config.path!r} asks for attention by code of the hub, "
                f"{kernel!r}; take attn_implementation out of it"
            )
    return settings


def _is_of_hub(kernel: str) -> bool:
    """Whether transformers may fetch an implementation of attention, and run it.

    It does so by a name of the hub, and in the place of a package that is not installed.
    """
    return "/" in kernel or ("flash" in kernel and find_spec("flash_attn") is None)


def require_weights(config: ModelConfig, located: Located) -> None:
    """Check the weights by their headers; the hub's come only when they are loaded.

    Raises:
        ModelError: They are not all there, damaged, or no safetensors.
    """
    if located.commit is None:
        with translated_errors(f"model {config.path!r}"):
            check_weights(located.folder)


def skeleton_of(config: ModelConfig) -> transformers.PreTrainedModel:
    """The model on the meta device: it takes no memory, and computes nothing.

    Raises:
        ModelError: As for `load_model`.
        TransientError: The hub did not answer.
    """
    located = locate_model(config)
    settings = load_settings(config, located)
    require_weights(config, located)
    with translated_errors(f"model {config.path!r}"), torch.device("meta"):
        return AutoModelForCausalLM.from_config(settings)
