"""The input of a model's head, for all positions of a batch.

The model runs without its head on all positions: a hook takes the hidden states where they enter
the head and lets a single position through. The head is then applied to the supervised positions
only. The position that went through the model's own head checks that our logits are the model's
logits; a model that does anything unknown to them is an error and never a wrong score.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from gradgate.errors import ModelError
from gradgate.models.loading import LoadedModel


def head_input(loaded: LoadedModel, **inputs: Tensor) -> Tensor:
    """Run the model up to its head: (B, L) ids -> (B, L, d).

    Raises:
        ModelError: The model's logits are not those of a linear head.
    """
    with _taking_head_input(loaded.head) as taken:
        output = loaded.model(**inputs, use_cache=False, return_dict=True)
    if len(taken) != 1 or taken[0].shape[:2] != inputs["input_ids"].shape:
        raise ModelError("the model does not apply its head once to every position")
    hidden = taken[0]
    ours = loaded.transform(loaded.head(_last(hidden)).float())
    _check_same(ours, output.logits.float(), loaded.dtype)
    return hidden


def padded_forward(loaded: LoadedModel, rows: list[list[int]]) -> Tensor:
    """The input of the head, for rows of ids: (B, L, d).

    Rows are padded on the right with zeros, where causal attention never looks.
    """
    width = max(len(row) for row in rows)
    ids = torch.tensor([row + [0] * (width - len(row)) for row in rows]).to(loaded.device)
    lengths = torch.tensor([len(row) for row in rows]).to(loaded.device)
    mask = torch.arange(width, device=loaded.device) < lengths[:, None]
    return head_input(loaded, input_ids=ids, attention_mask=mask.long())


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


def _check_same(ours: Tensor, theirs: Tensor, dtype: torch.dtype) -> None:
    tolerance = 1e-4 if dtype == torch.float32 else 2e-2
    same = torch.isclose(ours, theirs, rtol=tolerance, atol=tolerance, equal_nan=True)
    if ours.shape != theirs.shape or not bool(same.all()):
        raise ModelError(
            "the model's logits are not those of its head: it changes them in a way that is not "
            "known here (known: scaling and soft-capping), so no score would be right"
        )
