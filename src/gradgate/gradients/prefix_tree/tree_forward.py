"""A model's forward pass over a prefix tree: every distinct prefix token is computed once.

The tokens of a stretch go through the model as one row without padding; only in the attention do
they part (`tree_attention`). This is exact for causal attention over earlier tokens, all of them or
a window. A model that does anything else (recurrence, positions of its own) is found out before it
is used: `TreeForward` refuses it and says why.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from peft import PeftModel
from torch import Tensor
from transformers import AttentionInterface

from gradgate.gradients.head_input import head_input
from gradgate.gradients.linear import FastLinear
from gradgate.gradients.prefix_tree.flex_tree import FlexStretchAttention
from gradgate.gradients.prefix_tree.layout import Layout, RowsLimit, lay_out
from gradgate.gradients.prefix_tree.stretches import Stretch
from gradgate.gradients.prefix_tree.tree_attention import (
    PrefixSharingError,
    PrefixState,
    StretchAttention,
    attend,
    attending,
)
from gradgate.gradients.upload import upload
from gradgate.models.loading import LoadedModel

_NAME = "gradgate_prefix_tree"
_ROWS_BYTES = {"cpu": 24 * 2**20, "cuda": 512 * 2**20}  # keys, values and mask of a group of rows


@dataclass(frozen=True)
class Computed:
    """A stretch that went through the model.

    Attributes:
        hidden: Input of the head, for the carried path and the stretch. (C + N, d)
        state: To carry on.
        is_linear: As in `HeadInput`.
    """

    hidden: Tensor
    state: PrefixState
    is_linear: Tensor


class TreeForward:
    """Runs stretches of a prefix tree through a model, up to its head.

    Attributes:
        attention: What the tokens attend by; on a GPU FlexAttention, if it is found to be right.
    """

    def __init__(self, loaded: LoadedModel) -> None:
        """Take the model as it is."""
        self._loaded = loaded
        self._limit = _rows_limit(loaded)
        self._linear = FastLinear(loaded.model)
        on_gpu = loaded.device.type == "cuda"
        self.attention = FlexStretchAttention if on_gpu else StretchAttention

    @contextmanager
    def active(self) -> Iterator[None]:
        """Let the model use the attention over the tree, and fast linear layers.

        `run` works in here only.

        Raises:
            PrefixSharingError: The model's attention cannot be replaced.
        """
        AttentionInterface.register(_NAME, attend)
        model = self._loaded.model
        body = model.get_base_model() if isinstance(model, PeftModel) else model
        before = body.config._attn_implementation
        try:
            body.set_attn_implementation(_NAME)
        except (ValueError, ImportError) as error:
            raise PrefixSharingError(f"its attention cannot be replaced: {error}") from error
        try:
            with self._linear:
                yield
        finally:
            body.set_attn_implementation(before)

    def lay_out(self, stretch: Stretch) -> Layout:
        """The layout of a stretch for `run`; needs neither the model nor the device."""
        return lay_out(stretch, self._limit)

    def run(self, stretch: Stretch, layout: Layout, state: PrefixState) -> Computed:
        """Compute a stretch below the path that the one before it left; `state` is not changed.

        Raises:
            PrefixSharingError: The model's attention is of a kind that is not known here.
        """
        device = self._loaded.device
        deepest = int(stretch.depths.max())
        attention = self.attention(layout, state, deepest, self._loaded.dtype)
        with attending(attention):
            found = head_input(
                self._loaded,
                input_ids=upload(stretch.tokens[None], device),
                position_ids=upload(stretch.depths[None], device),
            )
        hidden = found.hidden[0]  # (N, d)
        if attention.n_calls == 0:
            raise PrefixSharingError("its attention cannot be replaced")
        if state.hidden is not None and state.length:
            hidden = torch.cat([state.hidden, hidden])
        kept = hidden[upload(layout.carried_on, hidden.device)]
        carried = PrefixState(attention.keys, attention.values, kept)
        return Computed(hidden, carried, found.is_linear)


def _rows_limit(loaded: LoadedModel) -> RowsLimit:
    config = loaded.model.config.get_text_config().to_dict()
    heads = int(config.get("num_attention_heads") or 1)
    shared = heads // int(config.get("num_key_value_heads") or heads)
    item = loaded.dtype.itemsize
    return RowsLimit(_ROWS_BYTES[loaded.device.type], 2 * loaded.n_hidden * item, shared * item)
