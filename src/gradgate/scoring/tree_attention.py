"""A model's forward pass over a prefix tree: every distinct prefix token is computed once.

The tokens of a stretch go through the model as one row without padding; only in the attention do
they part: every chunk of them sees its own path and itself. This is exact for causal attention over
all earlier tokens. What a model does beyond that (windows, recurrence, positions of its own) is
found out before it is used: `TreeForward` refuses such a model and says why.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

import torch
from peft import PeftModel
from torch import Tensor, nn
from transformers import AttentionInterface

from gradgate.errors import ModelError
from gradgate.models import LoadedModel
from gradgate.scoring.head import head_input
from gradgate.scoring.prefixes import Layout, Rows, RowsLimit, Stretch, lay_out

_NAME = "gradgate_prefix_tree"
# Arguments of an attention function that do not change what it computes here.
_HARMLESS = {
    *("position_ids", "cache_position", "position_embeddings", "use_cache", "return_dict"),
    *("output_attentions", "output_hidden_states", "is_causal"),
    "output_router_logits",
}
_ROWS_BYTES = {"cpu": 24 * 2**20, "cuda": 512 * 2**20}  # keys, values and mask of a group of rows

_attending: ContextVar["_Attention"] = ContextVar("_attending")


class NoReuseError(ModelError):
    """The model cannot compute a prefix once for all samples; the message says why."""


@dataclass
class Path:
    """What is carried from stretch to stretch: keys and values by layer, and what enters the head.

    Attributes:
        keys: Of every layer. [(1, key heads, C, head size)]
        values: The same.
        hidden: (C, d), None before the first stretch.
    """

    keys: list[Tensor] = field(default_factory=list)
    values: list[Tensor] = field(default_factory=list)
    hidden: Tensor | None = None

    @property
    def length(self) -> int:
        """Tokens on it, C."""
        return 0 if self.hidden is None else int(self.hidden.shape[0])


@dataclass(frozen=True)
class Computed:
    """A stretch that went through the model.

    Attributes:
        hidden: What enters the head, for the carried path and the stretch. (C + N, d)
        path: To carry on.
    """

    hidden: Tensor
    path: Path


class TreeForward:
    """Runs stretches of a prefix tree through a model, up to its head."""

    def __init__(self, loaded: LoadedModel) -> None:
        """Take the model as it is."""
        self._loaded = loaded
        self._limit = _rows_limit(loaded)

    @contextmanager
    def active(self) -> Iterator[None]:
        """Let the model use the attention over the tree; `run` works in here only.

        Raises:
            NoReuseError: The model's attention cannot be replaced.
        """
        AttentionInterface.register(_NAME, _attend)
        model = self._loaded.model
        body = model.get_base_model() if isinstance(model, PeftModel) else model
        before = body.config._attn_implementation
        try:
            body.set_attn_implementation(_NAME)
        except (ValueError, ImportError) as error:
            raise NoReuseError(f"its attention cannot be replaced: {error}") from error
        try:
            yield
        finally:
            body.set_attn_implementation(before)

    def lay_out(self, stretch: Stretch) -> Layout:
        """What `run` needs to know of a stretch; needs neither the model nor the device."""
        return lay_out(stretch, self._limit)

    def run(self, stretch: Stretch, layout: Layout, path: Path) -> Computed:
        """Compute a stretch below the path that the one before it left; `path` stays as it is.

        Raises:
            NoReuseError: The model's attention is of a kind that is not known here.
        """
        device = self._loaded.device
        deepest = int(stretch.depths.max())
        attention = _Attention(layout, path, deepest, device, self._loaded.dtype)
        token = _attending.set(attention)
        try:
            hidden = head_input(
                self._loaded,
                input_ids=torch.from_numpy(stretch.tokens)[None].to(device),
                position_ids=torch.from_numpy(stretch.depths)[None].to(device),
            )[0]  # (N, d)
        finally:
            _attending.reset(token)
        if attention.n_calls == 0:
            raise NoReuseError("its attention cannot be replaced")
        if path.hidden is not None and path.length:
            hidden = torch.cat([path.hidden, hidden])
        carried = Path(attention.keys, attention.values, hidden[attention.carried_on])
        return Computed(hidden, carried)


def _rows_limit(loaded: LoadedModel) -> RowsLimit:
    config = loaded.model.config.get_text_config().to_dict()
    heads = int(config.get("num_attention_heads") or 1)
    shared = heads // int(config.get("num_key_value_heads") or heads)
    item = loaded.dtype.itemsize
    return RowsLimit(_ROWS_BYTES[loaded.device.type], 2 * loaded.n_hidden * item, shared * item)


class _Attention:
    """Attention of the tokens of one stretch, for all layers in turn."""

    def __init__(
        self, layout: Layout, path: Path, deepest: int, device: torch.device, dtype: torch.dtype
    ) -> None:
        self.deepest = deepest
        self.keys: list[Tensor] = []
        self.values: list[Tensor] = []
        self.n_calls = 0
        self.carried_on = torch.from_numpy(layout.carried_on).to(device)
        self._path = path
        below = torch.from_numpy(layout.below).to(device)
        self._rows = [
            _DeviceRows.of(rows, layout.n_carried, below, device, dtype) for rows in layout.rows
        ]

    def __call__(self, query: Tensor, key: Tensor, value: Tensor, scaling: float | None) -> Tensor:
        """Attend: (1, heads, N, head size) -> (1, N, heads, head size)."""
        if self._path.length:
            key = torch.cat([self._path.keys[self.n_calls], key], dim=2)
            value = torch.cat([self._path.values[self.n_calls], value], dim=2)
        self.n_calls += 1
        self.keys.append(key[:, :, self.carried_on])
        self.values.append(value[:, :, self.carried_on])
        output = query.new_empty(query.shape[2], query.shape[1], value.shape[3])
        for rows in self._rows:
            output[rows.queries] = rows.attend(query[0], key[0], value[0], scaling)
        return output[None]


@dataclass(frozen=True)
class _DeviceRows:
    """Chunks that attend together.

    Attributes:
        queries: (R, Q)
        keys: (R, K)
        mask: 0 where a query sees a key, minus infinity elsewhere. (R, 1, Q, K)
    """

    queries: Tensor
    keys: Tensor
    mask: Tensor

    @classmethod
    def of(
        cls, rows: Rows, n_carried: int, below: Tensor, device: torch.device, dtype: torch.dtype
    ) -> "_DeviceRows":
        queries = torch.from_numpy(rows.queries).to(device)
        keys = torch.from_numpy(rows.keys).to(device)
        lengths = torch.from_numpy(rows.lengths).to(device)
        at = (queries + n_carried)[:, :, None]  # (R, Q, 1)
        seen = (keys[:, None, :] <= at) & (at < below[keys][:, None, :])
        seen &= torch.arange(keys.shape[1], device=device) < lengths[:, None, None]
        mask = torch.zeros(seen.shape, dtype=dtype, device=device)
        return cls(queries, keys, mask.masked_fill_(~seen, float("-inf"))[:, None])

    def attend(self, query: Tensor, key: Tensor, value: Tensor, scaling: float | None) -> Tensor:
        """(heads, N, size), (key heads, C + N, size) twice -> (R, Q, heads, size)."""
        heads, _, size = query.shape
        n_rows, length = self.queries.shape
        # heads that share a key stand behind each other, as longer queries
        shared = heads // key.shape[0]
        q = _take(query, self.queries).view(n_rows, length, key.shape[0], shared, size)
        q = q.permute(0, 2, 3, 1, 4).reshape(n_rows, key.shape[0], shared * length, size)
        k = _take(key, self.keys).transpose(1, 2)  # (R, key heads, K, size)
        v = _take(value, self.keys).transpose(1, 2)
        mask = self.mask.repeat(1, 1, shared, 1) if shared > 1 else self.mask
        found = nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=scaling)
        found = found.view(n_rows, key.shape[0], shared, length, v.shape[3])
        return found.permute(0, 3, 1, 2, 4).reshape(n_rows, length, heads, v.shape[3])


def _take(states: Tensor, tokens: Tensor) -> Tensor:
    """(heads, N, size) at (R, K) -> (R, K, heads, size); in memory tokens are outermost."""
    taken = states.transpose(0, 1).index_select(0, tokens.flatten())
    return taken.view(*tokens.shape, *taken.shape[1:])


def _attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    **others: object,
) -> tuple[Tensor, None]:
    """What transformers calls in every layer."""
    attention = _attending.get()
    if sliding_window is not None and sliding_window < attention.deepest + 1:
        raise NoReuseError(f"the model sees {sliding_window} tokens at a time")
    unknown = {name for name, value in others.items() if value is not None} - _HARMLESS
    if attention_mask is not None:
        unknown.add("a mask of its own")
    if unknown:
        raise NoReuseError(f"its attention uses {', '.join(sorted(unknown))}")
    return attention(query, key, value, scaling), None
