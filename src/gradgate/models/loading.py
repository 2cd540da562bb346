"""Loading a causal language model.

Loading never runs code from a model repository and reads safetensors only.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial

import torch
import transformers
from peft import PeftModel
from torch import nn
from transformers import AutoModelForCausalLM
from transformers.utils.logging import (
    disable_progress_bar,
    enable_progress_bar,
    is_progress_bar_enabled,
)

from gradgate.config import ModelConfig
from gradgate.errors import ModelError
from gradgate.models.attaching import attach, require_all
from gradgate.models.errors import translated_errors
from gradgate.models.head import find_head, linear_of, logit_transform
from gradgate.models.locating import Located, locate_adapter, locate_model, options
from gradgate.models.skeleton import load_settings
from gradgate.models.tokenizers import load_located_tokenizer
from gradgate.models.transform import LogitTransform
from gradgate.models.vocabulary import check_ids, n_embedded


@dataclass(frozen=True)
class LoadedModel:
    """A model ready to score: in eval mode, no parameter needs a gradient.

    Attributes:
        device: Where tokens go in.
        head: The output projection; a linear layer, possibly wrapped by peft.
        n_vocabulary: Rows of the head's weight, V.
        n_hidden: Columns of the head's weight, d.
        transform: What the model does to the head's output before the softmax.
        identity: path, revision and digest of model and adapter, for the record.
        is_resized: Whether the adapter brings an embedding of another size than the base model's.
        is_base_changed: Whether the base model is another one since its adapter was loaded.
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
    is_resized: bool = False
    is_base_changed: bool = False

    @property
    def head_device(self) -> torch.device:
        """Where the head computes; the layers before it may lie elsewhere."""
        weight = linear_of(self.head).weight
        return self.device if weight.is_meta else weight.device


def load_located(
    config: ModelConfig,
    located: Located,
    adapter: Located | None,
    identity: dict[str, str | None],
    device: torch.device,
    dtype: torch.dtype,
) -> LoadedModel:
    """Load a model that was located and identified; errors as for `load_model`."""
    tokenizer = load_located_tokenizer(config, located, adapter)
    load, attached = partial(_load_weights, config, located, dtype), None
    if config.adapter is not None and adapter is not None:
        attached = attach(load, config.adapter, adapter)
    model = load() if attached is None else attached.model
    check_ids(tokenizer, n_embedded(model), repr(config.path))
    if config.device_map is None:
        with translated_errors(f"model {config.path!r}", f"move to {device}"):
            model = model.to(device)
    else:
        device = _input_device(model, device)
    model = model.eval().requires_grad_(False)
    loaded = assemble(model, tokenizer, device, dtype, identity)
    _check_runs(loaded, config)
    if attached is None:
        return loaded
    return replace(loaded, is_resized=attached.is_resized, is_base_changed=attached.is_base_changed)


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
    # Not by `out_features`: in peft's wrapper of a tied head the two are swapped.
    n_vocabulary, n_hidden = linear_of(head).weight.shape
    return LoadedModel(
        model=model,
        tokenizer=tokenizer,
        device=device,
        dtype=dtype,
        head=head,
        n_vocabulary=int(n_vocabulary),
        n_hidden=int(n_hidden),
        transform=logit_transform(model.config.get_text_config()),
        identity=identity,
    )


def load_tokenizer(config: ModelConfig) -> transformers.PreTrainedTokenizerBase:
    """Load the tokenizer alone; errors as for `load_model`."""
    adapter = None if config.adapter is None else locate_adapter(config.adapter)
    return load_located_tokenizer(config, locate_model(config), adapter)


def sample_limit(config: ModelConfig, max_tokens: int) -> int:
    """Longest sample in tokens: `max_tokens`, or less where the model takes less."""
    settings = load_settings(config, locate_model(config))
    with translated_errors(f"the configuration of {config.path!r}", "use"):
        return limit_of(settings, max_tokens)


def limit_of(config: transformers.PretrainedConfig, max_tokens: int) -> int:
    """Longest sample in tokens: `max_tokens`, or less where the model takes less."""
    return min(max_tokens, _max_positions(config.get_text_config()) or max_tokens)


def _load_weights(
    config: ModelConfig, located: Located, dtype: torch.dtype
) -> transformers.PreTrainedModel:
    load_settings(config, located)  # it may ask for what is refused
    with translated_errors(f"model {config.path!r}"), _no_bar():
        model, report = AutoModelForCausalLM.from_pretrained(
            config.path,
            dtype=dtype,
            use_safetensors=True,
            output_loading_info=True,
            **({} if config.device_map is None else {"device_map": config.device_map}),
            **options(located),
        )
    require_all(f"model {config.path!r}", set(report["missing_keys"]))
    return model


@contextmanager
def _no_bar() -> Iterator[None]:
    """A bar of progress is the business of the program, not of a step in it."""
    was_shown = is_progress_bar_enabled()
    disable_progress_bar()
    try:
        yield
    finally:
        if was_shown:
            enable_progress_bar()


def _input_device(model: transformers.PreTrainedModel, device: torch.device) -> torch.device:
    """Where tokens go into a model that is spread; `device` if its embedding is on the disk."""
    weight = model.get_input_embeddings().weight
    return device if weight.is_meta else weight.device


@torch.inference_mode()
def _check_runs(loaded: LoadedModel, config: ModelConfig) -> None:
    """Run two tokens: settings that contradict one another often show only here."""
    ids = torch.tensor([[0, n_embedded(loaded.model) - 1]], device=loaded.device)
    with translated_errors(f"model {config.path!r}", "run"):
        logits = loaded.model(input_ids=ids, use_cache=False).logits
        if logits.shape != (1, 2, loaded.n_vocabulary):
            raise ValueError(f"its logits have the shape {tuple(logits.shape)}")
    if not bool(logits.isfinite().any()):
        _refuse_nan(loaded, config)


def _refuse_nan(loaded: LoadedModel, config: ModelConfig) -> None:
    """Refuse weights that are no numbers; those of single tokens fail single rows alone."""
    embedding = loaded.model.get_input_embeddings().weight
    bad = [
        name
        for name, weight in loaded.model.named_parameters()
        if weight is not embedding
        and not weight.is_meta  # on the disk
        and not bool(weight.isfinite().all())
    ]
    if bad:
        subject = config.path if config.adapter is None else f"{config.path} with {config.adapter}"
        more = f" and {len(bad) - 5} more" if len(bad) > 5 else ""
        raise ModelError(
            f"the weights of {subject} are not finite (NaN or infinite): {', '.join(bad[:5])}"
            f"{more}; the training that made them diverged, or the file is damaged: take an "
            "earlier checkpoint, or download it again"
        )


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
