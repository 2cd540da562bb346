"""Computing in the dtypes that are written down, whatever the caller has switched on."""

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

import torch

P = ParamSpec("P")
T = TypeVar("T")


def exact(work: Callable[P, T]) -> Callable[P, T]:
    """`work` without autocast, which would round float32 to bfloat16, and without gradients."""

    @wraps(work)
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        kind = "cuda" if torch.cuda.is_available() else "cpu"
        off = torch.autocast("cpu", enabled=False), torch.autocast(kind, enabled=False)
        with torch.inference_mode(), off[0], off[1]:
            return work(*args, **kwargs)

    return run
