"""An adapter put on its model, and what that does to the model's own weights."""

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

import torch
from peft import PeftModel
from peft.utils import get_peft_model_state_dict
from torch import nn
from transformers import PreTrainedModel

from gradgate.errors import ModelError
from gradgate.models.errors import translated_errors
from gradgate.models.folder import ADAPTER_WEIGHTS
from gradgate.models.locating import Located
from gradgate.models.vocabulary import fit_vocabulary
from gradgate.models.weights_file import Shapes, read_shapes

Prints: TypeAlias = dict[str, int]


@dataclass(frozen=True)
class Attached:
    """A model with its adapter.

    Attributes:
        is_resized: Whether the adapter brings an embedding of another size than the model's.
        is_base_changed: Whether peft changed weights of the model that the adapter does not bring,
            as for PiSSA: switched off, such an adapter does not leave the model before.
    """

    model: PeftModel
    is_resized: bool
    is_base_changed: bool


def attach(load: Callable[[], PreTrainedModel], adapter: str, located: Located) -> Attached:
    """Put an adapter on its model.

    Args:
        load: Gives the model, anew each time.
        adapter: Its path, for peft.
        located: Where it lies.

    Raises:
        ModelError: It is damaged, does not fit the model or lacks weights, or what becomes of the
            model is another thing each time.
    """
    once = _attached(load(), adapter, located)
    if not once.is_base_changed:
        return once
    first = _prints(once.model)
    del once  # two models may not fit into memory
    again = _attached(load(), adapter, located)
    if _prints(again.model) != first:
        start = getattr(
            again.model.peft_config[again.model.active_adapter], "init_lora_weights", ""
        )
        raise ModelError(
            f"adapter {adapter!r} begins at weights of its model that are drawn by chance whenever "
            f"it is loaded (init_lora_weights {start!r}), so that no two loads are the same model; "
            "convert it to plain LoRA where it was trained: save_pretrained(folder, "
            "path_initial_model_for_weight_conversion=...)"
        )
    return again


def require_all(subject: str, missing: set[str]) -> None:
    """Refuse weights that libraries would make up: random weights give random scores."""
    if missing:
        raise ModelError(f"{subject} lacks weights: {', '.join(sorted(missing)[:5])}")


def _attached(model: PreTrainedModel, adapter: str, located: Located) -> Attached:
    pinned = {"revision": located.commit} if located.commit else {}
    with translated_errors(f"adapter {adapter!r}"), warnings.catch_warnings():
        # peft 0.21 asks transformers 5 by a name that it will drop in version 6.
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)
        brought = read_shapes(located.folder / ADAPTER_WEIGHTS)
        is_resized = fit_vocabulary(model, brought)
        own = list(model.named_parameters())
        before = _prints(model)
        adapted = PeftModel.from_pretrained(model, adapter, **pinned)
        needed = get_peft_model_state_dict(adapted, save_embedding_layers=False)
    require_all(f"adapter {adapter!r}", set(needed) - set(brought))
    return Attached(adapted, is_resized, any(_changed(own, before, adapted, brought)))


def _changed(
    own: list[tuple[str, nn.Parameter]], before: Prints, adapted: PeftModel, brought: Shapes
) -> Iterator[str]:
    """Names of the model's own weights that are others now, and that the adapter does not bring."""
    bare = {_bare(name) for name in brought}
    left = {id(weight) for weight in adapted.parameters()}
    for name, weight in own:
        is_same = id(weight) in left and _print(weight) == before[name]
        if not is_same and _bare(name) not in bare:
            yield name


def _bare(name: str) -> str:
    """A weight's name without what peft puts around it."""
    return name.removeprefix("base_model.model.").replace(".base_layer.", ".")


def _prints(model: nn.Module) -> Prints:
    return {name: _print(weight) for name, weight in model.named_parameters()}


_BITS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


@torch.no_grad()
def _print(weight: torch.Tensor) -> int:
    """The sum over a weight's bits: other values hardly ever have the same.

    Nobody chooses the values to be so: they are what peft makes of the model's own.
    """
    if weight.is_meta:  # on the disk
        return 0
    return int(weight.detach().view(_BITS[weight.element_size()]).sum(dtype=torch.int64))
