"""Free memory, and smaller steps when it did not suffice."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec, TypeVar

import psutil
import torch

from gradgate.errors import ModelError
from gradgate.models.hardware import is_out_of_memory

logger = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

_CGROUP = Path("/sys/fs/cgroup")


def free_bytes(device: torch.device) -> int:
    """Memory that can still be taken on a device; on a CPU within the limit of the container."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    available = int(psutil.virtual_memory().available)
    limit = _container_limit()
    return available if limit is None else min(available, limit)


def _container_limit() -> int | None:
    """Memory that a container's own limit leaves (cgroup v2); None without a limit."""
    try:
        limit = (_CGROUP / "memory.max").read_text().strip()
        used = (_CGROUP / "memory.current").read_text().strip()
    except OSError:
        return None
    return max(0, int(limit) - int(used)) if limit.isdigit() else None


class Budget:
    """How much is done at a time; half as much from now on whenever memory runs out.

    Attributes:
        size: In `unit`.
    """

    def __init__(self, size: int, min_size: int, unit: str) -> None:
        """Begin with `size`; below `min_size` it is an error."""
        self.size = size
        self._min_size = min_size
        self._unit = unit

    def attempt(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T | None:
        """The result of `work`; None, and a smaller size, when it ran out of memory.

        Raises:
            ModelError: It ran out of memory at the smallest size.
        """
        try:
            return work(*args, **kwargs)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            if self.size // 2 < self._min_size:
                raise ModelError(
                    f"out of memory with {self.size} {self._unit} at a time; make data.max_tokens "
                    "smaller, or free memory"
                ) from error
        self.size //= 2
        logger.warning("out of memory; going on with %d %s at a time", self.size, self._unit)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        return None
