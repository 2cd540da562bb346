"""Numbers go to a device without anybody waiting for it."""

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor


def upload(numbers: npt.NDArray[Any], device: torch.device) -> Tensor:
    """Numbers on a device; a GPU copies them from pinned memory while the processor goes on."""
    here = torch.from_numpy(np.asarray(numbers, order="C"))
    if device.type == "cuda":
        here = _pinned(here)
    return here.to(device, non_blocking=True)


def _pinned(numbers: Tensor) -> Tensor:
    return numbers.pin_memory()
