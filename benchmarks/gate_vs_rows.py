"""The whole gate against the number of rows: processor time of each step, and peak memory.

Usage: `python -m benchmarks.gate_vs_rows [--million] [--quick]`

Rows of ordinary data are drawn (`benchmarks.ordinary`) and go through everything that `gradgate
detect --report` does, by a tiny model that knows how they are written: prepare, score, flag by the
default method, canaries, check, the files of the rows, attestation, report. The policy accepts what
is left, so that all of it has work to do. Each size is a process of its own with an empty store.
The exponent is the slope of the least-squares line through the logarithms: 1 is proportional. What
does not depend on the rows is taken off: the start of every step, as measured on 100 rows, and the
canaries, which are planted in 2,000 rows of larger data, as measured on 3,000.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from benchmarks.harness import exponent, machine, parser, show
from benchmarks.ordinary import Walk, save_ordinary_model
from gradgate.attest.issuing import run_attested_gate
from gradgate.common.run_folder import RunFolder
from gradgate.gate.config import GateConfig
from gradgate.gate.pipeline import STEPS, Steps
from gradgate.report.about import About
from gradgate.report.content import collect
from gradgate.report.deciding import Deciding
from gradgate.report.in_doubt import flagged, in_doubt
from gradgate.report.page import write_report

SIZES = (10_000, 30_000, 100_000, 300_000)
MILLION = 1_000_000
QUICK_SIZES = (300, 1_000)
FEW, CANARIES = 100, 3_000  # rows of which what is taken off is measured
TARGET, TOLERANCE, MAX_MIB = 1.0, 0.05, 4_096
REST, REPORT = "rows, attestation", "report"
NAMES = [*(step.name for step in fields(Steps)), REST, REPORT]

Seconds = dict[str, float]


def child(source: Path, model: Path, folder: Path) -> None:
    """Run the gate and print what each step took, and the peak, as JSON."""
    taken, peaks = dict.fromkeys(NAMES, 0.0), dict.fromkeys(NAMES, 0.0)
    config = GateConfig.model_validate(
        {
            "data": {"source": str(source)},
            "model": {"path": str(model), "device": "cpu"},
            "policy": {"review_above": 1.0, "max_poison_fraction": 1.0},
        }
    )
    run = RunFolder(folder)
    started = time.process_time()
    verdict = run_attested_gate(config, run, _timed(taken, peaks))
    done = time.process_time()
    peaks[REST] = _peak()
    taken[REST] = done - started - sum(taken.values())
    about = About(
        run=folder.name,
        files=str(folder),
        when=datetime.now(UTC),
        policy=config.policy,
        deciding=Deciding("restore", str(run.rows), ".jsonl"),
        in_doubt=in_doubt(run, verdict),
        flagged=flagged(run, verdict),
    )
    write_report(run.report, collect(run, source.name, verdict, "benchmark", about))
    taken[REPORT] = time.process_time() - done
    peaks[REPORT] = _peak()
    counts = (verdict.decision, verdict.n_accepted, verdict.n_quarantined)
    print(json.dumps({"taken": taken, "peaks": peaks, "verdict": counts}))


def _timed(taken: Seconds, peaks: Seconds) -> Steps:
    """The steps, each of which notes its processor time and the peak since the one before."""

    def wrapped(name: str, step: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any) -> Any:
            started = time.process_time()
            found = step(*arguments)
            taken[name] += time.process_time() - started
            peaks[name] = _peak()
            return found

        return run

    return Steps(**{one.name: wrapped(one.name, getattr(STEPS, one.name)) for one in fields(Steps)})


def _peak() -> float:
    """The largest resident MiB since it was last asked for."""
    lines = Path("/proc/self/status").read_text().splitlines()
    found = next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))
    Path("/proc/self/clear_refs").write_text("5")
    return found


def measure(n_rows: int, model: Path, folder: Path) -> dict[str, Any]:
    """What a process says that takes so many rows through the gate."""
    with tempfile.TemporaryDirectory(dir=folder) as name:
        source = Path(name) / "rows.jsonl"
        with source.open("w", encoding="utf-8") as file:
            file.writelines(f"{line}\n" for line in Walk().rows(n_rows, seed=1))
        found = subprocess.run(
            [sys.executable, "-m", __spec__.name, "--child", source, model, Path(name) / "run"],
            check=True, stdout=subprocess.PIPE, text=True, env=_environment(Path(name)),
        )  # fmt: skip
    said: dict[str, Any] = json.loads(found.stdout.splitlines()[-1])
    return said


def _environment(state: Path) -> dict[str, str]:
    return {**os.environ, "GRADGATE_STATE_DIR": str(state / "state")}


def main() -> None:
    """Print a line for each size, and the exponents."""
    made = parser(__doc__)
    made.add_argument("--million", action="store_true", help="a million rows as well")
    made.add_argument("--child", nargs=3, type=Path, help="for the processes of the benchmark")
    arguments = made.parse_args()
    if arguments.child:
        child(*arguments.child)
        return
    sizes = [*(QUICK_SIZES if arguments.quick else SIZES)]
    sizes += [MILLION] if arguments.million else []
    with tempfile.TemporaryDirectory() as name:
        save_ordinary_model(Path(name) / "model")
        start = measure(FEW, Path(name) / "model", Path(name))
        few = measure(CANARIES, Path(name) / "model", Path(name))
        start["taken"]["measure"] = few["taken"]["measure"]
        runs = []
        for n in sizes:
            runs.append(measure(n, Path(name) / "model", Path(name)))
            print(f"{n}: {json.dumps(runs[-1])}", flush=True)
    _report(sizes, runs, start)


def _report(sizes: Sequence[int], runs: list[dict[str, Any]], start: dict[str, Any]) -> None:
    def own(run: dict[str, Any], step: str) -> float:
        return max(0.0, float(run["taken"][step]) - float(start["taken"][step]))

    def total(run: dict[str, Any]) -> float:
        return sum(own(run, step) for step in NAMES)

    lines = [
        [
            f"{n:,}",
            *(f"{1000 * own(run, step) / n:.3f}" for step in NAMES),
            f"{1000 * total(run) / n:.3f}",
            f"{max(run['peaks'].values()):.0f}",
        ]
        for n, run in zip(sizes, runs, strict=True)
    ]
    headings = ["rows", *NAMES, "whole", "peak, MiB"]
    show(f"Processor time, ms/row; {machine(torch.device('cpu'))}", headings, lines)
    found = exponent(sizes, [total(run) for run in runs])
    met = "met" if abs(found - TARGET) <= TOLERANCE else "MISSED"
    print(f"exponent of the whole cost: {found:.3f}; bar of {TARGET:g} +- {TOLERANCE:g}: {met}")
    peak = max(max(run["peaks"].values()) for run in runs)
    print(f"peak {peak:.0f} MiB; bar of {MAX_MIB}: {'met' if peak < MAX_MIB else 'MISSED'}")


if __name__ == "__main__":
    main()
