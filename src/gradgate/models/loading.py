"""Loading a causal language model.

Loading never runs code from a model repository and reads safetensors only.
"""

from dataclasses import dataclass

import torch
import transformers
from peft import PeftModel
from peft.utils import get_peft_model_state_dict
from safetensors import safe_open
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from gradgate.config import ModelConfig
from gradgate.errors import ModelError
from gradgate.models.errors import translated_errors
from gradgate.models.head import find_head, linear_of, logit_transform
from gradgate.models.locating import Located, locate_model, options
from gradgate.models.transform import LogitTransform


@dataclass(frozen=True)
class LoadedModel:
    """A model ready to score: in eval mode, no parameter needs a gradient.

    Attributes:
        head: The output projection; a linear layer, possibly wrapped by peft.
        n_vocabulary: Rows of the head's weight, V.
        n_hidden: Columns of the head's weight, d.
        transform: What the model does to the head's output before the softmax.
        identity: path, revision and digest of model and adapter, for the record.
    """

    model: transformers.PreTrainedModel | PeftModel
    tokenizer: transformers.PreTrainedTokenizerBase
    device: torch.device
    dtype: torch.dtype
    head: nn.Module
    n_vocabulary: int
    n_hidden: int
    transform: LogitTransform
    identity: dict[str, str | None]


def load_located(
    config: ModelConfig,
    located: Located,
    adapter: Located | None,
    identity: dict[str, str | None],
    device: torch.device,
    dtype: torch.dtype,
) -> LoadedModel:
    """Load a model that was located and identified; errors as for `load_model`."""
    tokenizer = _load_tokenizer(config, located)
    model = _load_weights(config, located, dtype)
    if config.adapter is not None and adapter is not None:
        model = _with_adapter(model, config.adapter, adapter)
    model = model.to(device).eval().requires_grad_(False)
    return assemble(model, tokenizer, device, dtype, identity)


def assemble(
    model: transformers.PreTrainedModel | PeftModel,
    tokenizer: transformers.PreTrainedTokenizerBase,
    device: torch.device,
    dtype: torch.dtype,
    identity: dict[str, str | None],
) -> LoadedModel:
    """Find the head of a model that is in memory.

    Raises:
        ModelError: It has none, or none that is linear.
    """
    head = find_head(model)
    return LoadedModel(
        model=model,
        tokenizer=tokenizer,
        device=device,
        dtype=dtype,
        head=head,
        n_vocabulary=linear_of(head).out_features,
        n_hidden=linear_of(head).in_features,
        transform=logit_transform(model.config.get_text_config()),
        identity=identity,
    )


def load_tokenizer(config: ModelConfig) -> transformers.PreTrainedTokenizerBase:
    """Load the tokenizer alone; errors as for `load_model`."""
    return _load_tokenizer(config, locate_model(config))


def sample_limit(config: ModelConfig, max_tokens: int) -> int:
    """Longest sample in tokens: `max_tokens`, or less where the model takes less."""
    with translated_errors(f"the configuration of {config.path!r}"):
        loaded = AutoConfig.from_pretrained(config.path, **options(locate_model(config)))
    return limit_of(loaded, max_tokens)


def limit_of(config: transformers.PretrainedConfig, max_tokens: int) -> int:
    """Longest sample in tokens: `max_tokens`, or less where the model takes less."""
    return min(max_tokens, _max_positions(config.get_text_config()) or max_tokens)


def _load_tokenizer(config: ModelConfig, located: Located) -> transformers.PreTrainedTokenizerBase:
    with translated_errors(f"the tokenizer of {config.path!r}"):
        return AutoTokenizer.from_pretrained(config.path, **options(located))


def _load_weights(
    config: ModelConfig, located: Located, dtype: torch.dtype
) -> transformers.PreTrainedModel:
    with translated_errors(f"model {config.path!r}"):
        model, report = AutoModelForCausalLM.from_pretrained(
            config.path,
            dtype=dtype,
            use_safetensors=True,
            output_loading_info=True,
            **options(located),
        )
    _require_all(f"model {config.path!r}", set(report["missing_keys"]))
    return model


def _with_adapter(model: transformers.PreTrainedModel, adapter: str, located: Located) -> PeftModel:
    pinned = {"revision": located.commit} if located.commit else {}
    with translated_errors(f"adapter {adapter!r}"):
        adapted = PeftModel.from_pretrained(model, adapter, **pinned)
        with safe_open(located.folder / "adapter_model.safetensors", "pt") as file:
            there = set(file.keys())
    needed = get_peft_model_state_dict(adapted, save_embedding_layers=False)
    _require_all(f"adapter {adapter!r}", set(needed) - there)
    return adapted


def _require_all(subject: str, missing: set[str]) -> None:
    """Refuse weights that libraries would make up: random weights give random scores."""
    if missing:
        raise ModelError(f"{subject} lacks weights: {', '.join(sorted(missing)[:5])}")


def _max_positions(config: transformers.PretrainedConfig) -> int | None:
    """Longest input whose scores do not depend on the rest of its batch.

    Dynamic and long RoPE change their frequencies beyond the original length by the longest sample
    of a batch, so that such a model is scored within its original length only.
    """
    values = config.to_dict()
    rope = values.get("rope_parameters") or {}
    original = rope.get("original_max_position_embeddings")
    if rope.get("rope_type") in ("dynamic", "longrope") and original:
        return int(original)
    for name in ("max_position_embeddings", "n_positions"):
        if values.get(name):
            return int(values[name])
    return None
