"""The attention of a stretch by FlexAttention, for GPUs: one kernel that skips what nobody sees.

Nothing is gathered and there is no mask in memory: blocks of keys that no token of a block sees are
left out, blocks that all of them see need no mask, and in all others the kernel asks `mask_mod`.

The kernel is compiled for each shape. So that these repeat, queries and keys are padded to powers
of two: keys that nobody sees, and queries whose result is dropped.
"""

from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.attention.flex_attention import BlockMask, flex_attention

from gradgate.common.arrays import Ints
from gradgate.gradients.prefix_tree.layout import Layout
from gradgate.gradients.prefix_tree.tree_attention import (
    Kind,
    PerKind,
    PrefixState,
    StretchAttention,
)
from gradgate.gradients.upload import upload

BLOCK = 128  # tokens of a block
_SHAPES = 256

Int32s = NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Blocks:
    """Which blocks of keys each block of queries sees.

    Attributes:
        some: Some of whose keys some of the queries see, by block of queries. [(any number,)]
        full: All of whose keys all of the queries see. [(any number,)]
    """

    some: list[Ints]
    full: list[Ints]


def blocks_of(layout: Layout, window: int) -> Blocks:
    """Find the blocks of a stretch; the keys are the carried path and the stretch.

    Args:
        layout: Of the stretch.
        window: How many tokens of a sample each sees; more than the largest depth: all above it.
    """
    n_keys, n_carried, depths = len(layout.below), layout.n_carried, layout.depths
    starts = np.arange(0, n_keys, BLOCK)
    below = np.minimum.reduceat(layout.below, starts)  # (blocks of keys,)
    shallowest = np.minimum.reduceat(depths, starts)
    some, full = [], []
    for first in range(n_carried, n_keys, BLOCK):  # of each block of queries
        last = min(first + BLOCK, n_keys) - 1
        path = np.flatnonzero(layout.below[:first] > first)
        n_queries = np.minimum(layout.below[path], last + 1) - first  # that are below each
        nearest = np.minimum.accumulate(depths[first : last + 1])[n_queries - 1]
        path = path[nearest - depths[path] < window]
        seen = np.unique(np.concatenate([path, np.arange(first, last + 1)]) // BLOCK)
        whole = (starts[seen] + BLOCK <= first) & (below[seen] > last)
        whole &= depths[first : last + 1].max() - shallowest[seen] < window
        whole &= last - first + 1 == BLOCK
        some.append(seen[~whole])
        full.append(seen[whole])
    return Blocks(some, full)


class FlexStretchAttention(StretchAttention):
    """As its parent, by another kernel."""

    def __init__(
        self, layout: Layout, state: PrefixState, deepest: int, dtype: torch.dtype
    ) -> None:
        """As its parent."""
        super().__init__(layout, state, deepest, dtype)
        self._masks = PerKind(partial(block_mask, layout))

    def _attend(
        self, query: Tensor, key: Tensor, value: Tensor, scaling: float | None, kind: Kind
    ) -> Tensor:
        mask = self._masks[kind]
        sizes = (mask.shape[-2], mask.shape[-1], mask.shape[-1])
        parts = zip((query, key, value), sizes, strict=True)
        found = _kernel(query.device.type)(
            *(_filled(part, size).transpose(0, 1)[None] for part, size in parts),
            block_mask=mask,
            scale=scaling,
            enable_gqa=query.shape[1] != key.shape[1],
        )
        return found[0].transpose(0, 1)[: len(query)]


@cache
def _kernel(kind: str) -> Any:
    """FlexAttention, compiled on a GPU; without that it computes every score."""
    if kind != "cuda":
        return flex_attention
    # as many as there are shapes: beyond the limit it would not be compiled at all
    torch._dynamo.config.recompile_limit = max(_SHAPES, torch._dynamo.config.recompile_limit)
    return torch.compile(flex_attention, dynamic=False)


def block_mask(layout: Layout, kind: Kind) -> BlockMask:
    """The mask of a stretch for layers of a kind, padded; nobody sees the keys of the padding."""
    n_queries, n_keys = padded_lengths(layout)
    n_seen = n_keys + 1 if kind.window is None else kind.window
    below, depths = (
        upload(np.pad(part, (0, n_keys - len(part))), kind.device)
        for part in (layout.below, layout.depths)
    )
    offset, window = (  # tensors, so that nothing is compiled anew for another value
        upload(np.array(value), kind.device) for value in (layout.n_carried, n_seen)
    )

    def sees(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        at = query + offset
        return (key <= at) & (at < below[key]) & (depths[at] - depths[key] < window)

    blocks = blocks_of(layout, n_seen)
    shape = n_queries // BLOCK, n_keys // BLOCK
    some, full = (
        [upload(part, kind.device)[None, None] for part in _padded(which, shape)]
        for which in (blocks.some, blocks.full)
    )
    return BlockMask.from_kv_blocks(
        kv_num_blocks=some[0],
        kv_indices=some[1],
        full_kv_num_blocks=full[0],
        full_kv_indices=full[1],
        BLOCK_SIZE=BLOCK,
        mask_mod=sees,
        seq_lengths=(n_queries, n_keys),
        compute_q_blocks=False,
    )


def padded_lengths(layout: Layout) -> tuple[int, int]:
    """Queries and keys with their padding: powers of two, and sums of two of them."""
    n_queries = _power_of_two(len(layout.below) - layout.n_carried)
    return n_queries, n_queries + (_power_of_two(layout.n_carried) if layout.n_carried else 0)


def _power_of_two(n: int) -> int:
    """The smallest one that is not below n, nor below a block."""
    return max(BLOCK, 1 << (n - 1).bit_length())


def _padded(blocks: list[Ints], shape: tuple[int, int]) -> tuple[Int32s, Int32s]:
    """How many blocks of keys each block of queries has, and which: int32 (rows,), `shape`."""
    numbers, padded = np.zeros(shape[0], dtype=np.int32), np.zeros(shape, dtype=np.int32)
    for i, some in enumerate(blocks):
        numbers[i] = len(some)
        padded[i, : len(some)] = some
    return numbers, padded


def _filled(states: Tensor, n: int) -> Tensor:
    """(any number, heads, size) -> (n, heads, size), with zeros behind."""
    return nn.functional.pad(states, (0, 0, 0, 0, 0, n - len(states)))
