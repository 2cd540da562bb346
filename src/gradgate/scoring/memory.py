"""How much memory is free, and whether an error says that there was too little."""

from pathlib import Path

import psutil
import torch

_CGROUP = Path("/sys/fs/cgroup")


def free_bytes(device: torch.device) -> int:
    """Memory that can still be taken on a device; on a CPU within the limit of the container."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    available = int(psutil.virtual_memory().available)
    limit = _container_limit()
    return available if limit is None else min(available, limit)


def _container_limit() -> int | None:
    """What a container's own limit leaves (cgroup v2); None when there is none."""
    try:
        limit = (_CGROUP / "memory.max").read_text().strip()
        used = (_CGROUP / "memory.current").read_text().strip()
    except OSError:
        return None
    return max(0, int(limit) - int(used)) if limit.isdigit() else None


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error of torch or numpy is about memory; torch has no class for it on a CPU."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
