"""What must hold after every night, whatever happened in it."""

import os
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil
from mlflow import MlflowClient
from mlflow.entities import Run

import gradgate
from benchmarks.faults.work import COULD_NOT_RUN, DECISIONS, Facts, Night, Work
from gradgate.common.processes import owner_of
from gradgate.common.run_folder import RunFolder
from gradgate.errors import GradgateError
from gradgate.gate.verdict import EXIT_CODES

_GOING_ON = ["RUNNING", "PENDING", "CANCELLING", "PAUSED"]
_ENDING = 5  # seconds for a process that has told its exit code
_LAST = 40  # runs in MLflow that are looked at; earlier ones were, after earlier nights
_EVIDENCE = {"verdict.json", "attestation.json", "config.yaml", "verdict.md"}


@dataclass(frozen=True)
class Ended:
    """A night that is over.

    Attributes:
        code: Exit code; None when it did not end by itself.
        pids: Of its processes.
        new: Names in `runs/` that were not there before.
        was_hit: Whether a fault struck.
    """

    night: Night
    code: int | None
    pids: set[int]
    new: set[str]
    was_hit: bool


class Invariants:
    """Asks the state folder, MLflow, Prefect and the machine."""

    def __init__(self, work: Work, prefect: str, mark: str) -> None:
        """Take the address; `mark` is in the environment of every process of the harness."""
        self._work, self._prefect = work, prefect
        self._mlflow = MlflowClient(work.tracking)
        self._mark = mark.encode()

    def broken_by(self, over: Ended, expected: Facts, known: set[int]) -> list[str]:
        """Everything that is wrong now; `known` are processes that may be there."""
        found = self._of_exit(over)
        finished = {name for name in over.new if not name.endswith(".part")}
        for name in sorted(finished):
            found += self._of_run(self._work.state / "runs" / name, over, expected)
        found += [f"a process is left: {line}" for line in self._orphans(known)]
        if over.new:  # it has looked after what earlier ones left
            found += self._left_by_others(over)
        return found

    def _of_exit(self, over: Ended) -> list[str]:
        right = EXIT_CODES[DECISIONS[over.night]]
        if over.code is None:
            return ["it did not end"]
        allowed = {right, COULD_NOT_RUN, -9, -15, 143} if over.was_hit else {right}
        found = [] if over.code in allowed else [f"exit code {over.code} instead of {right}"]
        finished = [name for name in over.new if not name.endswith(".part")]
        if over.code == right and len(finished) != 1:
            found.append(f"exit code {over.code}, and {len(finished)} folders")
        return found

    def _of_run(self, folder: Path, over: Ended, expected: Facts) -> list[str]:
        """A folder that has its name holds the right verdict, or an error that had a cause."""
        try:
            facts = Facts.of(folder / "verdict.json")
        except GradgateError as error:
            return [f"no verdict: {error}"]
        if facts.decision == "error":
            return [] if over.was_hit else ["the verdict is error, and nothing had happened"]
        found = [] if facts == expected else [f"wrong verdict: {facts} instead of {expected}"]
        found += self._of_attestation(folder, facts)
        adapters = [name for name in ("adapter", "adapter.held") if (folder / name).exists()]
        if adapters and not (folder / "attestation.json").exists():
            found.append("trained without an attestation")
        if over.code == 0 and over.night == "finetune" and adapters != ["adapter"]:
            found.append(f"exit code 0, and what was trained is {adapters}")
        return found

    def _of_attestation(self, folder: Path, facts: Facts) -> list[str]:
        path = folder / "attestation.json"
        if not path.exists():
            return ["a verdict without its attestation"]
        if facts.decision != "pass":
            return []
        try:
            gradgate.verify(path, folder / "rows" / "accepted.jsonl", key=self._work.key)
        except GradgateError as error:
            return [f"the attestation does not hold: {error}"]
        return []

    def _left_by_others(self, over: Ended) -> list[str]:
        """What only this night may have left open, for it began by closing everything else."""
        runs = self._work.state / "runs"
        others = [path for path in runs.glob("*.part") if path.name not in over.new]
        # Killed before it could name its process, a folder stays for a day (docs/operating.md).
        found = [f"{p.name} is left" for p in others if owner_of(RunFolder(p)) is not None]
        inner = (p for p in runs.glob("*/*.part") if p.parent.name not in over.new)
        found += [f"{path} is left" for path in inner if path.name != "source.part"]
        own = {name.removesuffix(".part") for name in over.new}
        found += [f"Prefect: {i} goes on as {s}" for i, s in self._flow_runs() if i not in own]
        for run in self._tracked():
            if int(run.data.tags.get("gradgate.pid", 0)) in over.pids:
                continue
            if run.info.status == "RUNNING":
                found.append(f"MLflow: {run.info.run_name} goes on")
            if run.data.tags.get("gradgate.verdict", "error") != "error":
                found += self._without_evidence(run)
        return found

    def _without_evidence(self, run: Run) -> list[str]:
        decision = run.data.tags["gradgate.verdict"]
        if run.info.status != "FINISHED":
            return [f"MLflow: the verdict {decision} in a run that is {run.info.status}"]
        lacking = _EVIDENCE - {one.path for one in self._mlflow.list_artifacts(run.info.run_id)}
        return [f"MLflow: the verdict {decision} without {lacking}"] if lacking else []

    def _flow_runs(self) -> list[tuple[str, str]]:
        asked = {"flow_runs": {"state": {"type": {"any_": _GOING_ON}}}}
        found = httpx.post(f"{self._prefect}/flow_runs/filter", json=asked, timeout=60).json()
        return [(run["id"], run["state"]["name"]) for run in found]

    def _tracked(self) -> list[Run]:
        experiment = self._mlflow.get_experiment_by_name("faults")
        if experiment is None:
            return []
        ids, order = [experiment.experiment_id], ["attributes.start_time DESC"]
        return list(self._mlflow.search_runs(ids, max_results=_LAST, order_by=order))

    def _orphans(self, known: set[int]) -> list[str]:
        """Processes that were started by the harness or by what it started, and go on."""
        there = []
        for process in psutil.process_iter():
            try:
                environment = Path(f"/proc/{process.pid}/environ").read_bytes()
                if process.pid in known or self._mark not in environment:
                    continue
                if process.status() != psutil.STATUS_ZOMBIE and process.pid != os.getpid():
                    there.append(process)
            except (OSError, psutil.Error):
                continue
        _, left = psutil.wait_procs(there, timeout=_ENDING)  # one may be about to end
        return [f"{process.pid} {_command(process)}" for process in left]


def _command(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())[:120]
    except psutil.Error:
        return "has just ended"
