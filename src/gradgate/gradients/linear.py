"""Products with a weight, by the library that is faster on this processor.

torch multiplies float32 matrices by MKL, which reaches four fifths of oneDNN's speed on processors
of AMD; bfloat16 goes to oneDNN anyway. oneDNN brings a weight into an order of its own first, which
costs 6 % where it is done for every product (benchmarks/RESULTS.md). The values are the same bits
whether it was done before or not.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from gradgate.gradients.memory import free_bytes
from gradgate.models.hardware import is_of_amd

_PACKED_PART = 8  # of the free memory, one such part may hold weights in oneDNN's order


def is_for_onednn(dtype: torch.dtype) -> bool:
    """Whether products in a dtype go to oneDNN on this processor."""
    if not (is_of_amd() and torch.backends.mkldnn.is_available()):
        return False
    bfloat16 = dtype == torch.bfloat16 and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return bool(bfloat16) or dtype == torch.float32


def linear(states: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`states` weight^T + bias: (..., d), (V, d), (V,) -> (..., V)."""
    if _takes_onednn(states, weight):
        return _product(states, weight, bias)
    return nn.functional.linear(states, weight, bias)


def _product(states: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    product: Tensor = torch.ops.mkldnn._linear_pointwise(states, weight, bias, "none", [], "")
    return product


def _takes_onednn(states: Tensor, weight: Tensor) -> bool:
    """Whether oneDNN takes a product; one of a single row has other bits with a packed weight."""
    both = states, weight
    return (
        is_for_onednn(weight.dtype)
        and states.dtype == weight.dtype
        and all(type(one) in (Tensor, nn.Parameter) for one in both)
        and all(one.device.type == "cpu" for one in both)
        and states.numel() > states.shape[-1]
        and weight.is_contiguous()
    )


class FastLinear(TorchFunctionMode):
    """Within it, linear layers of any model multiply by `linear`, each weight packed once."""

    def __init__(self, model: nn.Module) -> None:
        """Begin with nothing packed; only the weights that a model has now will be."""
        super().__init__()
        self._own = {id(weight) for weight in model.parameters() if not weight.is_meta}
        self._packed: dict[int, tuple[Tensor, int, Tensor]] = {}
        self._left = free_bytes(torch.device("cpu")) // _PACKED_PART

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Take the place of `torch.nn.functional.linear`, and of nothing else."""
        if func is nn.functional.linear:
            func = self._linear
        return func(*args, **(kwargs or {}))

    def _linear(self, input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        if not _takes_onednn(input, weight):
            return nn.functional.linear(input, weight, bias)
        return _product(input, self._ordered(weight), bias)

    def _ordered(self, weight: Tensor) -> Tensor:
        """A weight in oneDNN's order, where there is room for it; it may change meanwhile."""
        if id(weight) not in self._own or weight.is_inference():  # changes of it leave no trace
            return weight
        kept, version, packed = self._packed.get(id(weight), (None, 0, weight))
        if kept is weight and version == weight._version:
            return packed
        if kept is None:
            self._left -= weight.nbytes
            if self._left < 0:
                return weight
        packed = torch.ops.mkldnn._reorder_linear_weight(weight.detach())
        self._packed[id(weight)] = weight, weight._version, packed
        return packed
