"""Products with a weight, by the library that is faster on this processor.

torch multiplies float32 matrices by MKL, which reaches four fifths of oneDNN's speed on processors
of AMD (benchmarks/RESULTS.md). bfloat16 goes to oneDNN anyway.
"""

from collections.abc import Callable, Iterable, Mapping
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode


@cache
def _onednn_is_faster() -> bool:
    """Whether this processor is one of AMD's; by its name, so that equal machines do the same."""
    name = str(torch.cpu.get_capabilities().get("cpu_name", ""))
    return name.startswith("AMD") and torch.backends.mkldnn.is_available()


def linear(states: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`states` weight^T + bias: (..., d), (V, d), (V,) -> (..., V)."""
    if _is_for_onednn(states, weight) and _onednn_is_faster():
        product: Tensor = torch.ops.mkldnn._linear_pointwise(states, weight, bias, "none", [], "")
        return product
    return nn.functional.linear(states, weight, bias)


def _is_for_onednn(states: Tensor, weight: Tensor) -> bool:
    return (
        all(type(one) in (Tensor, nn.Parameter) for one in (states, weight))
        and all(one.device.type == "cpu" for one in (states, weight))
        and all(one.dtype == torch.float32 for one in (states, weight))
        and states.numel() > 0
        and weight.is_contiguous()
    )


class FastLinear(TorchFunctionMode):
    """Within it, linear layers of any model multiply by `linear`."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Take the place of `torch.nn.functional.linear`, and of nothing else."""
        if func is nn.functional.linear:
            func = linear
        return func(*args, **(kwargs or {}))
