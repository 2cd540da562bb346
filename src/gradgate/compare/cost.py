"""What a step costs: seconds, and memory at its peak."""

import ctypes
import gc
import sys
import threading
import time
from dataclasses import dataclass
from typing import Self

import psutil
import pyarrow as pa

_INTERVAL = 0.005  # seconds between two looks at the memory
_MIB = 1 << 20


@dataclass(frozen=True)
class Cost:
    """What a step cost.

    Attributes:
        seconds: By the clock.
        peak_mib: How far the resident memory of the process rose above what it was before, in MiB.
    """

    seconds: float
    peak_mib: float


class Meter:
    """Measures a block: `with Meter() as meter: ...`, and then `meter.cost`.

    A thread looks at the resident memory of the whole process (libraries allocate outside of
    Python, so that tracemalloc would miss most of it). It sees nothing shorter than its interval,
    nothing within a call into a library that holds the interpreter's lock, and nothing on a GPU.
    Before, free memory goes back to the system: what an earlier step left to the allocator would be
    used again unseen.
    """

    def __init__(self) -> None:
        """Nothing is measured yet."""
        self.cost = Cost(float("nan"), float("nan"))

    def __enter__(self) -> Self:
        """Begin."""
        _release()
        self._process = psutil.Process()
        self._before = self._peak = self._process.memory_info().rss
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        self._start = time.perf_counter()
        return self

    def __exit__(self, *error: object) -> None:
        """End; a block that breaks has its cost as well."""
        seconds = time.perf_counter() - self._start
        self._over.set()
        self._thread.join()
        self._look()
        self.cost = Cost(seconds, (self._peak - self._before) / _MIB)

    def _watch(self) -> None:
        while not self._over.wait(_INTERVAL):
            self._look()

    def _look(self) -> None:
        self._peak = max(self._peak, self._process.memory_info().rss)


def _release() -> None:
    """Give memory that nobody uses back to the system, as far as the allocators know how to."""
    gc.collect()
    pa.default_memory_pool().release_unused()
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # musl has none
        if trim is not None:
            trim(0)
