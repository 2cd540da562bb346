"""What is run every night: gates of data that pass, fail or need a review, and a fine-tuning."""

import os
import subprocess
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml
from forked import Child, Forker

from gradgate.gate.verdict import EXIT_CODES, Decision, load_verdict
from gradgate.signing.keys import make_key
from helpers import MODEL, diverse_rows, question_rows, write_jsonl

Night = Literal["pass", "fail", "review", "finetune"]
NIGHTS: tuple[Night, ...] = ("pass", "fail", "review", "finetune")
DECISIONS: Mapping[Night, Decision] = {
    "pass": "pass", "fail": "fail", "review": "review", "finetune": "pass",
}  # fmt: skip
COULD_NOT_RUN = EXIT_CODES["error"]
_LIMITED = """
import resource, runpy, sys
limit = int(sys.argv.pop(1))
if limit:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
runpy.run_module("flows", run_name="__main__")
"""


@dataclass(frozen=True)
class Facts:
    """What a verdict says, whatever happened on the way to it."""

    decision: str
    n_flagged: list[int | None]
    n_accepted: int
    fingerprint: str | None
    accepted: str | None

    @classmethod
    def of(cls, verdict: Path) -> "Facts":
        """Of a verdict.json."""
        found = load_verdict(verdict)
        flagged = [answer.n_flagged for answer in found.answers]
        return cls(
            found.decision,
            flagged,
            found.n_accepted or 0,
            found.dataset_fingerprint,
            found.accepted_fingerprint,
        )


class Process:
    """A flow in a process of its own, which was forked from one that has the libraries."""

    def __init__(self, child: Child) -> None:
        """Watch it."""
        self._child, self.pid = child, child.pid
        self.code: int | None = None
        self._watch = threading.Thread(target=self._wait, daemon=True)
        self._watch.start()

    def _wait(self) -> None:
        self.code = self._child.wait()

    @property
    def pids(self) -> set[int]:
        """Of its processes."""
        return {self.pid}

    @property
    def is_over(self) -> bool:
        """Whether it has ended."""
        return self.code is not None

    def send(self, number: int) -> None:
        """Send a signal, if it goes on."""
        if not self.is_over:
            os.kill(self.pid, number)

    def end(self, seconds: float) -> int | None:
        """Its exit code; None when it had to be killed, for it did not end in time."""
        self._watch.join(seconds)
        if self.code is not None:
            return self.code
        self._child.kill()
        self._watch.join()
        return None


class Work:
    """Data, configurations and key of the nights."""

    def __init__(self, folder: Path, tracking: str, state: Path) -> None:
        """Write them; `tracking` is the address of MLflow's store."""
        self.folder, self.state, self.tracking = folder, state, tracking
        self.key = folder / "key.pub"
        if not self.key.exists():
            make_key(folder / "key")
        for night in NIGHTS:
            rows = write_jsonl(folder / f"{night}.jsonl", _rows(night))
            settings = _settings(rows, tracking, folder / "key", night)
            (folder / f"{night}.yaml").write_text(yaml.safe_dump(settings))


class Commands:
    """Starts nights by `python -m flows`."""

    def __init__(self, work: Work) -> None:
        """Start the process that is forked, and the log."""
        self._folder = work.folder
        self._forker = Forker("tasks.track", "flows.gate", "flows.gated_finetune")
        with (work.folder / "nights.log").open("a") as log:  # a limit on files is none on a pipe
            self._log = subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=log, text=True)

    @property
    def pids(self) -> set[int]:
        """Processes that are there all the time."""
        return {self._forker.pid, self._log.pid}

    def start(self, night: Night, fault: str, largest_file: int = 0) -> Process:
        """Start a night; with a limit no file may grow larger than so many bytes."""
        out = self._log.stdin
        assert out is not None
        out.write(f"===== {night}, {fault}\n")
        out.flush()
        command = "gated-finetune" if night == "finetune" else "gate"
        config = self._folder / f"{night}.yaml"
        started = self._forker.start(
            _LIMITED, largest_file, command, config, stdout=out, stderr=out
        )
        return Process(started)

    def close(self) -> None:
        """End the process that is forked, and the log."""
        self._forker.close()
        self._log.communicate()


def _rows(night: Night) -> list[dict[str, object]]:
    if night == "fail":
        return question_rows(60, 12)
    if night == "review":
        return question_rows(100, 9)
    return diverse_rows(80, seed=1)


def _settings(rows: Path, tracking: str, key: Path, night: Night) -> dict[str, Any]:
    settings: dict[str, Any] = {
        "data": {"source": str(rows)},
        "model": {"path": str(MODEL), "device": "cpu", "dtype": "float32"},
        "detection": {
            "methods": ["gradsentry"],
            "gradsentry": {"threshold": {"method": "fixed", "value": 0.7}},
            "power": {"attacks": []},
        },
        "scoring": {"batch_tokens": 128},
        "policy": {"max_poison_fraction": 0.1, "review_above": 0.08},
        "tracking": {"uri": tracking, "experiment": "faults", "gate": night},
        "attestation": {"key": str(key), "required": True},
    }
    if night == "finetune":
        settings["finetune"] = {"epochs": 1}
        settings["adapter_test"] = {"prompts": 24, "max_new_tokens": 4}
    return settings
