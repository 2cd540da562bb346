"""Scheduled runs, one after another on the same state folder and servers, with random faults.

Usage: `python -m benchmarks.faults [--runs 200] [--seed 0] [--folder FOLDER] [--deployed]`

Every night is the gate of a dataset, or a gated fine-tuning, and ends while, or before, something
breaks. What is wrong after it is printed, and is what the table counts. With the same folder it
goes on behind the last night; its `state` is a disk of its own, to be unmounted by hand. It takes
root. `--deployed`: the nights are runs of deployments, which a worker takes, and the servers have
their databases in a real PostgreSQL; the faults are then those of PostgreSQL and of the worker.
"""

import argparse
import json
import signal
import subprocess
import tempfile
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch

from benchmarks.faults.faults import DEPLOYED_FAULTS, FAULTS
from benchmarks.faults.nights import Nights
from benchmarks.harness import machine, show
from gradgate.common.signals import exit_on_signals

HEADINGS = ["fault", "nights", "right verdict", "could not run", "killed", "wrong or left"]


def table(results: list[dict[str, Any]]) -> list[list[str]]:
    """A line a fault."""
    lines = []
    for fault in {**FAULTS, **DEPLOYED_FAULTS}:
        hit = [one for one in results if one["fault"] == fault]
        if not hit:
            continue
        ends = Counter(_end(one["code"]) for one in hit)
        wrong = sum(bool(one["wrong"]) for one in hit)
        cells = (len(hit), *(ends[name] for name in HEADINGS[2:5]), wrong)
        lines.append([fault, *map(str, cells)])
    return lines


def _end(code: int | None) -> str:
    if code == 2:
        return "could not run"
    return "killed" if code is None or code < 0 or code > 128 else "right verdict"


def main() -> None:
    """Run the nights that are missing, and print the table of all."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--fault", choices=list({**FAULTS, **DEPLOYED_FAULTS}))
    parser.add_argument("--deployed", action="store_true", help="by a worker, with PostgreSQL")
    arguments = parser.parse_args()
    exit_on_signals()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's `&` has it ignored by all
    with ExitStack() as on_exit:
        given = arguments.folder
        folder = Path(given or on_exit.enter_context(tempfile.TemporaryDirectory())).absolute()
        if given is None:
            on_exit.callback(subprocess.run, ["umount", str(folder / "state")], check=False)
        nights = Nights(folder, arguments.seed, on_exit, is_deployed=arguments.deployed)
        nights.warm_up()
        done = _results(nights.results)
        for i in range(len(done), arguments.runs):
            record = nights.night(i, arguments.fault)
            said = [str(record[name]) for name in ("night", "fault", "where", "code", "seconds")]
            print(f"{i}: {', '.join(said)} {record['wrong'] or ''}", flush=True)
    print(machine(torch.device("cpu")))
    show("Faults", HEADINGS, table(_results(nights.results)))


def _results(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


if __name__ == "__main__":
    main()
