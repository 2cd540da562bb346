"""The input of a model's head, for all positions of a batch.

The model runs without its head on all positions: a hook takes the hidden states where they enter
the head and lets a single position through. The head is then applied to the supervised positions
only. The position that went through the model's own head checks that our logits are the model's
logits; a model that does anything unknown to them is an error and never a wrong score.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from gradgate.errors import ModelError
from gradgate.gradients.upload import upload
from gradgate.models.loading import LoadedModel


@dataclass(frozen=True)
class HeadInput:
    """What enters a head.

    Attributes:
        hidden: On the head's device. (B, L, d)
        is_linear: Whether the model's logits are those of a linear head, where they were compared.
            ()
    """

    hidden: Tensor
    is_linear: Tensor


def head_input(loaded: LoadedModel, **inputs: Tensor) -> HeadInput:
    """Run the model up to its head, for (B, L) ids; nobody waits for a GPU.

    Raises:
        ModelError: The model does not apply its head once to every position.
    """
    with _taking_head_input(loaded.head) as taken:
        output = loaded.model(**inputs, use_cache=False, return_dict=True)
    if len(taken) != 1 or taken[0].shape[:2] != inputs["input_ids"].shape:
        raise ModelError("the model does not apply its head once to every position")
    hidden = taken[0].to(loaded.head_device, non_blocking=True)
    ours = loaded.transform(loaded.head(_last(hidden)).float())
    theirs = output.logits.float().to(ours.device, non_blocking=True)
    return HeadInput(hidden, _are_same(ours, theirs, loaded.dtype))


def require_linear(is_linear: Tensor) -> None:
    """Wait for what `HeadInput.is_linear` says, of one step or of several.

    Raises:
        ModelError: The model's logits are not those of a linear head.
    """
    if not bool(is_linear.all()):
        raise ModelError(
            "the model's logits are not those of its head: it changes them in a way that is not "
            "known here (known: scaling and soft-capping), so no score would be right"
        )


def padded_forward(loaded: LoadedModel, rows: list[list[int]]) -> Tensor:
    """The input of the head, for rows of ids: (B, L, d).

    Raises:
        ModelError: The model's logits are not those of a linear head.
    """
    found = padded_input(loaded, rows)
    require_linear(found.is_linear)
    return found.hidden


def padded_input(loaded: LoadedModel, rows: list[list[int]]) -> HeadInput:
    """The same for which nobody waits; errors as for `head_input`.

    Rows are padded on the right with zeros, where causal attention never looks.
    """
    width = max(len(row) for row in rows)
    ids = np.array([row + [0] * (width - len(row)) for row in rows])
    mask = np.arange(width) < np.array([len(row) for row in rows])[:, None]
    there, mask_there = (upload(part, loaded.device) for part in (ids, mask.astype(np.int64)))
    return head_input(loaded, input_ids=there, attention_mask=mask_there)


def _last(hidden: Tensor) -> Tensor:
    """The last position of the last row, as a row of its own: (B, L, d) -> (1, 1, d).

    A slice would do, but for its strides torch copies all of the head's weight.
    """
    return hidden[-1, -1].view(1, 1, -1)


@contextmanager
def _taking_head_input(head: nn.Module) -> Iterator[list[Tensor]]:
    """Keep the input of the head and let only the last position of the last row through."""
    taken: list[Tensor] = []

    def take(module: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        taken.append(args[0])
        return (_last(args[0]), *args[1:])

    handle = head.register_forward_pre_hook(take)
    try:
        yield taken
    finally:
        handle.remove()


def _are_same(ours: Tensor, theirs: Tensor, dtype: torch.dtype) -> Tensor:
    if ours.shape != theirs.shape:
        return torch.zeros((), dtype=torch.bool, device=ours.device)
    tolerance = 1e-4 if dtype == torch.float32 else 2e-2
    return torch.isclose(ours, theirs, rtol=tolerance, atol=tolerance, equal_nan=True).all()
