"""A model without its weights: which modules it has, of which shapes, before anything is loaded."""

import torch
import transformers
from transformers import AutoConfig, AutoModelForCausalLM

from gradgate.config import ModelConfig
from gradgate.models.errors import translated_errors
from gradgate.models.locating import Located, locate_model, options


def load_settings(config: ModelConfig, located: Located) -> transformers.PretrainedConfig:
    """The configuration of a model that was located; errors as for `load_model`."""
    with translated_errors(f"the configuration of {config.path!r}"):
        return AutoConfig.from_pretrained(config.path, **options(located))


def skeleton_of(config: ModelConfig) -> transformers.PreTrainedModel:
    """The model on the meta device: it takes no memory, and computes nothing.

    Raises:
        ModelError: As for `load_model`.
        TransientError: The hub did not answer.
    """
    settings = load_settings(config, locate_model(config))
    with translated_errors(f"model {config.path!r}"), torch.device("meta"):
        return AutoModelForCausalLM.from_config(settings)
