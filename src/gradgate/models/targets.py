"""The modules that a LoRA adapter trains when none are named.

All linear layers of the decoder but for those that an adapter breaks or does not reach: the head;
routers, whose output chooses experts; towers for images and sound, which no text runs through;
and those of Mamba's mixers whose weights go into a fused kernel, past the adapter's forward.
"""

from collections.abc import Sequence
from typing import Literal

import transformers
from torch import nn
from transformers.pytorch_utils import Conv1D

from gradgate.errors import ModelError

_NAMED = 12  # modules that a message names

_ROUTERS = {"gate", "router", "shared_expert_gate", "router_layer", "switch"}
_TOWERS = ("vision", "visual", "image", "audio", "speech", "multi_modal", "mm_proj")
_FUSED = {"out_proj", "x_proj", "dt_proj", "bcdt_proj"}  # in a mixer of Mamba


def targets_of(
    model: nn.Module, asked: Sequence[str] | Literal["all-linear"], subject: str
) -> list[str]:
    """Names of the modules that `finetune.target_modules` means in a model.

    Args:
        model: The base model; its weights need not be there.
        asked: Names, or all-linear.
        subject: The model, for the message.

    Raises:
        ModelError: The model has no such modules, or none that can be adapted.
    """
    linear = _linear(model)
    if asked == "all-linear":
        left = [name for name in linear if not _is_left_out(model, name)]
        if not left:
            raise ModelError(
                f"cannot adapt target_modules all-linear of {subject}: it has no linear module "
                f"that an adapter can train; {_told(linear)}; name modules, or train every "
                "parameter (finetune.kind full)"
            )
        return sorted(left)
    unknown = [t for t in asked if not any(f".{name}".endswith(f".{t}") for name in linear)]
    if unknown or not asked:
        raise ModelError(
            f"cannot adapt target_modules {list(asked)} of {subject}: it has no linear module "
            f"{unknown}; {_told(linear)}"
        )
    return list(asked)


def _linear(model: nn.Module) -> list[str]:
    return [name for name, m in model.named_modules() if isinstance(m, (nn.Linear, Conv1D))]


def _told(linear: list[str]) -> str:
    known = sorted({name.rpartition(".")[2] for name in linear})
    return f"it has {', '.join(known[:_NAMED])}" if known else "it has none"


def _is_left_out(model: nn.Module, name: str) -> bool:
    """Whether a linear module is none that an adapter should train."""
    module, parts = model.get_submodule(name), name.split(".")
    if not _ROUTERS.isdisjoint(parts) or "router" in type(module).__name__.lower():
        return True
    if any(word in part for part in parts for word in _TOWERS):
        return True
    mixer = model.get_submodule(".".join(parts[:-1]))
    if parts[-1] in _FUSED and hasattr(mixer, "A_log") and hasattr(mixer, "D"):  # Mamba's
        return True
    if isinstance(model, transformers.PreTrainedModel):
        return module is model.get_output_embeddings() or not _is_within_decoder(model, module)
    return False


def _is_within_decoder(model: transformers.PreTrainedModel, module: nn.Module) -> bool:
    decoder = model.get_decoder()
    return decoder is None or any(inner is module for inner in decoder.modules())
