"""The attention of a stretch: every chunk of its tokens sees its own path and itself."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from gradgate.common.arrays import Marks
from gradgate.errors import ModelError
from gradgate.gradients.prefix_tree.layout import Layout, Rows
from gradgate.gradients.upload import upload

T = TypeVar("T")

# Arguments of an attention function that do not change its result here.
_HARMLESS = {
    *("position_ids", "cache_position", "position_embeddings", "use_cache", "return_dict"),
    *("output_attentions", "output_hidden_states", "is_causal"),
    "output_router_logits",
}

_attending: ContextVar["StretchAttention"] = ContextVar("_attending")


class PrefixSharingError(ModelError):
    """The model cannot compute a prefix once for all samples; the message says why."""


@dataclass
class PrefixState:
    """The carried prefix, from stretch to stretch: keys and values by layer, and input of the head.

    Attributes:
        keys: Of every layer. [(C, key heads, head size)]
        values: The same.
        hidden: Input of the head. (C, d); None before the first stretch.
        logp: ln p of its tokens, as far as a sample has asked for it; float32 (C,).
        is_known: Which of them. (C,)
    """

    keys: list[Tensor] = field(default_factory=list)
    values: list[Tensor] = field(default_factory=list)
    hidden: Tensor | None = None
    logp: Tensor | None = None
    is_known: Marks = field(default_factory=lambda: np.empty(0, dtype=bool))

    @property
    def length(self) -> int:
        """Its tokens, C."""
        return 0 if self.hidden is None else int(self.hidden.shape[0])


@dataclass(frozen=True)
class Kind:
    """What layers have in common that attend alike.

    Attributes:
        device: Where they lie; the layers of a model may lie on several devices.
        window: How many tokens of a sample each sees, itself among them; None: all above it.
    """

    device: torch.device
    window: int | None


class PerKind(dict[Kind, T]):
    """What is made once for all layers of a kind."""

    def __init__(self, make: Callable[[Kind], T]) -> None:
        """Take what makes it."""
        super().__init__()
        self._make = make

    def __missing__(self, kind: Kind) -> T:
        self[kind] = made = self._make(kind)
        return made


class StretchAttention:
    """Attention of the tokens of one stretch, for all layers in turn.

    Attributes:
        keys: Of the path that is carried on, by layer.
        values: The same.
        n_calls: Layers that were computed.
    """

    def __init__(
        self, layout: Layout, state: PrefixState, deepest: int, dtype: torch.dtype
    ) -> None:
        """Take the layout of the stretch, its carried prefix, and the largest depth."""
        self.deepest = deepest
        self.keys: list[Tensor] = []
        self.values: list[Tensor] = []
        self.n_calls = 0
        self._state = state
        self._carried_on = PerKind(lambda kind: upload(layout.carried_on, kind.device))
        self._rows = PerKind(partial(_rows_of, layout, dtype))

    def __call__(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        scaling: float | None,
        window: int | None = None,
    ) -> Tensor:
        """Attend: (1, heads, N, head size) -> (1, N, heads, head size)."""
        query, key, value = (part[0].transpose(0, 1) for part in (query, key, value))
        if self._state.length:
            key = torch.cat([self._state.keys[self.n_calls], key])
            value = torch.cat([self._state.values[self.n_calls], value])
        self.n_calls += 1
        carried_on = self._carried_on[Kind(query.device, None)]
        self.keys.append(key.index_select(0, carried_on))
        self.values.append(value.index_select(0, carried_on))
        if window is not None and window > self.deepest:
            window = None  # it sees all
        return self._attend(query, key, value, scaling, Kind(query.device, window))[None]

    def _attend(
        self, query: Tensor, key: Tensor, value: Tensor, scaling: float | None, kind: Kind
    ) -> Tensor:
        """(N, heads, size), (C + N, key heads, size) twice -> (N, heads, size)."""
        output = query.new_empty(*query.shape[:2], value.shape[2])
        for rows in self._rows[kind]:
            output.index_copy_(0, rows.queries.flatten(), rows.attend(query, key, value, scaling))
        return output


@contextmanager
def attending(attention: StretchAttention) -> Iterator[None]:
    """Let `attend` use this attention."""
    token = _attending.set(attention)
    try:
        yield
    finally:
        _attending.reset(token)


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
        cls, rows: Rows, n_carried: int, tokens: "_Tokens", window: int | None, dtype: torch.dtype
    ) -> "_DeviceRows":
        device = tokens.below.device
        queries, keys, lengths = (
            upload(part, device) for part in (rows.queries, rows.keys, rows.lengths)
        )
        at = (queries + n_carried)[:, :, None]  # (R, Q, 1)
        seen = (keys[:, None, :] <= at) & (at < tokens.below[keys][:, None, :])
        if window is not None:
            seen &= tokens.depths[at] - tokens.depths[keys][:, None, :] < window
        seen &= torch.arange(keys.shape[1], device=device) < lengths[:, None, None]
        mask = torch.zeros(seen.shape, dtype=dtype, device=device)
        return cls(queries, keys, mask.masked_fill_(~seen, float("-inf"))[:, None])

    def attend(self, query: Tensor, key: Tensor, value: Tensor, scaling: float | None) -> Tensor:
        """(N, heads, size), (C + N, key heads, size) twice -> (R * Q, heads, size)."""
        heads, size = query.shape[1:]
        n_rows, length = self.queries.shape
        # heads that share a key stand behind each other, as longer queries
        shared = heads // key.shape[1]
        q = _take(query, self.queries).view(n_rows, length, key.shape[1], shared, size)
        q = q.permute(0, 2, 3, 1, 4).reshape(n_rows, key.shape[1], shared * length, size)
        k = _take(key, self.keys).transpose(1, 2)  # (R, key heads, K, size)
        v = _take(value, self.keys).transpose(1, 2)
        mask = self.mask.repeat(1, 1, shared, 1) if shared > 1 else self.mask
        found = nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=scaling)
        found = found.view(n_rows, key.shape[1], shared, length, v.shape[3])
        return found.permute(0, 3, 1, 2, 4).reshape(n_rows * length, heads, v.shape[3])


@dataclass(frozen=True, eq=False)
class _Tokens:
    """As in `Layout`: of the carried path and the stretch."""

    depths: Tensor
    below: Tensor


def _rows_of(layout: Layout, dtype: torch.dtype, kind: Kind) -> list[_DeviceRows]:
    tokens = _Tokens(upload(layout.depths, kind.device), upload(layout.below, kind.device))
    return [
        _DeviceRows.of(rows, layout.n_carried, tokens, kind.window, dtype) for rows in layout.rows
    ]


def _take(states: Tensor, tokens: Tensor) -> Tensor:
    """(N, heads, size) at (R, K) -> (R, K, heads, size)."""
    return states.index_select(0, tokens.flatten()).unflatten(0, tokens.shape)


def attend(
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
    """The attention function that transformers calls in every layer.

    Raises:
        PrefixSharingError: The attention does more than causal attention over earlier tokens, all
            of them or a window.
    """
    attention = _attending.get()
    unknown = {name for name, value in others.items() if value is not None} - _HARMLESS
    if attention_mask is not None:
        unknown.add("a mask of its own")
    if unknown:
        raise PrefixSharingError(f"its attention uses {', '.join(sorted(unknown))}")
    return attention(query, key, value, scaling, sliding_window), None
