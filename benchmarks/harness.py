"""What the benchmarks share: the machine, timing in turns, and tables."""

import argparse
import os
import platform
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

WIDTH = 140
Clock = Callable[[], float]


def parser(description: str) -> argparse.ArgumentParser:
    """A parser that knows --quick: a tiny model on few rows, to see that a benchmark runs."""
    made = argparse.ArgumentParser(description=description.splitlines()[0])
    made.add_argument("--quick", action="store_true", help="a smoke run; its figures mean nothing")
    return made


def default_device() -> torch.device:
    """The GPU where there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def machine(device: torch.device) -> str:
    """What figures have to be read with: processor, cores, torch, GPU."""
    if device.type == "cuda":
        where = torch.cuda.get_device_name(device)
    else:
        where = f"{_processor()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads"
    return f"{time.strftime('%Y-%m-%d')}, {where}, torch {torch.__version__}"


def name_of(dtype: torch.dtype) -> str:
    """Without the module it comes from."""
    return str(dtype).removeprefix("torch.")


def in_turns(
    n_rounds: int, *runs: Callable[[], object], clock: Clock = time.perf_counter
) -> list[list[float]]:
    """Seconds of each run in each round, A B A B ..., so that a slow minute meets all of them."""
    seconds: list[list[float]] = [[] for _ in runs]
    for _ in range(n_rounds):
        for run, taken in zip(runs, seconds, strict=True):
            taken.append(timed(run, clock))
    return seconds


def timed(run: Callable[[], object], clock: Clock = time.perf_counter) -> float:
    """Seconds by a clock, the wall's at first, with the GPU's queue emptied before and after."""
    _synchronize()
    started = clock()
    run()
    _synchronize()
    return clock() - started


def work_clock() -> Clock:
    """Of computing alone: the processor's, which other work hardly changes; a GPU has none."""
    return time.perf_counter if torch.cuda.is_available() else time.process_time


def median(values: Sequence[float]) -> float:
    """The median, as a number for tables."""
    return float(np.median(values))


def spread(values: Sequence[float], digits: int = 2) -> str:
    """Median, and in brackets the smallest and the largest where there are several."""
    if len(values) == 1:
        return f"{values[0]:.{digits}f}"
    texts = (f"{value:.{digits}f}" for value in (median(values), min(values), max(values)))
    return "{} [{} to {}]".format(*texts)


def ratios(one: Sequence[float], other: Sequence[float]) -> list[float]:
    """Round by round."""
    return [a / b for a, b in zip(one, other, strict=True)]


def exponent(sizes: Sequence[float], costs: Sequence[float]) -> float:
    """Slope of the least-squares line through the logarithms: 1 is proportional."""
    slope, _ = np.polyfit(np.log(sizes), np.log(costs), 1)
    return float(slope)


def show(title: str, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table; figures are never cut off."""
    table = Table(title=title, title_justify="left")
    for heading in headings:
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(*row)
    Console(width=WIDTH).print(table)


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _synchronize() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
