"""Nights that a worker runs, and a PostgreSQL in which Prefect and MLflow keep what they know."""

import os
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil
import psycopg
import yaml
from postgres import Postgres, cluster, debian, packaged

from benchmarks.faults.servers import Server, responds
from benchmarks.faults.work import COULD_NOT_RUN, Night, Work
from flows.outcome import STATE_NAMES
from gradgate.gate.verdict import EXIT_CODES
from tasks.alerts.config import STATES

_ROOT = Path(__file__).parents[2]
_OVER = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}
_KILLED = -9
_CODES: Mapping[str, int] = {
    **{name: EXIT_CODES[decision] for decision, name in STATE_NAMES.items()},
    "Failed": COULD_NOT_RUN,
}
_SETTLED = 30  # seconds, in which a worker tells Prefect that a process is gone
_BEGUN = 120  # seconds, in which a run that a worker has taken has a process
_LOOK = 0.3  # seconds
_HEARTBEAT = 30  # seconds; Prefect allows no shorter time
_ALERTS = {
    "ui": "http://127.0.0.1",
    "channels": {},
    "alerts": {kind: [] for kind in STATES},
    "silent_minutes": 3 * _HEARTBEAT / 60,
}


@dataclass
class Databases(Server):
    """A server of PostgreSQL.

    Attributes:
        postgres: Its port and its password.
    """

    postgres: Postgres = field(kw_only=True)

    def make(self, *names: str) -> None:
        """Make databases that are not there."""
        for name in names:
            with suppress(psycopg.errors.DuplicateDatabase):
                self.postgres.execute(f"CREATE DATABASE {name}")

    def address(self, name: str) -> str:
        """Of a database, with the password."""
        return f"gradgate:{self.postgres.password}@127.0.0.1:{self.postgres.port}/{name}"


def postgres_server(folder: Path, port: int) -> Databases:
    """PostgreSQL with its data in the folder, which another user than root has to reach."""
    folder.chmod(0o711)
    own = folder / "postgres"
    own.mkdir(exist_ok=True)
    kept = own / "password"
    password = kept.read_text() if kept.exists() else secrets.token_hex(16)
    made = cluster(own, debian() or packaged(), Postgres(port, password))

    def answers() -> bool:
        try:
            made.server.connect().close()
        except psycopg.OperationalError:
            return False
        return True

    return Databases(
        made.command, answers, folder / "postgres.log", options=made.options, postgres=made.server
    )


def deploy(folder: Path, port: int) -> Server:
    """Deploy prefect.yaml; returns the worker, which is not started."""
    environment = {
        "GRADGATE_HOME": str(_ROOT), "PYTHONPATH": f"{_ROOT / 'src'}:{_ROOT}",
        "PREFECT_WORKER_WEBSERVER_PORT": str(port), "PREFECT_WORKER_WEBSERVER_HOST": "127.0.0.1",
        "DO_NOT_TRACK": "true", "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": str(_HEARTBEAT),
    }  # fmt: skip
    prefect = [sys.executable, "-m", "prefect"]
    alerts = folder / "alerts.yaml"
    if not alerts.exists():
        alerts.write_text(yaml.safe_dump(_ALERTS))
        for command in (
            [*prefect, "work-pool", "create", "gradgate", "--type", "process"],
            [*prefect, "work-pool", "set-concurrency-limit", "gradgate", "1"],
            [*prefect, "--no-prompt", "deploy", "--all"],
            [sys.executable, "-m", "flows", "automations", "apply", str(alerts)],
        ):
            subprocess.run(
                command, cwd=_ROOT, env={**os.environ, **environment}, check=True,
                stdout=subprocess.DEVNULL,
            )  # fmt: skip
    command = [*prefect, "worker", "start", "--pool", "gradgate", "--type", "process"]
    health = responds(f"http://127.0.0.1:{port}/health")
    log = folder / "nights.log"
    return Server([*command, "--with-healthcheck"], health, log, environment, {"cwd": folder})


class Run:
    """A run of a deployment, as Prefect and the machine see it."""

    def __init__(self, api: str, flow_run: str) -> None:
        """Watch it."""
        self._url, self._mark = f"{api}/flow_runs/{flow_run}", flow_run.encode()
        self.pids: set[int] = set()
        self.code: int | None = None
        self._watch = threading.Thread(target=self._wait, daemon=True)
        self._watch.start()

    @property
    def is_over(self) -> bool:
        """Whether it has ended."""
        return self.code is not None

    def send(self, number: int) -> None:
        """Send a signal to its processes."""
        for pid in self._alive():
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def end(self, seconds: float) -> int | None:
        """Its exit code; None when it had to be killed, for it did not end in time."""
        self._watch.join(seconds)
        if self.code is None:
            self.send(signal.SIGKILL)
        return self.code

    def _wait(self) -> None:
        """Until it has its last state and no process, or nobody is left to give it one."""
        idle_since, said = time.monotonic(), ""
        while self.code is None:
            time.sleep(_LOOK)
            alive, state = self._alive(), self._state()
            if alive or state is None or state["name"] != said:
                idle_since, said = time.monotonic(), "" if state is None else state["name"]
            if alive or state is None:
                continue
            idle = time.monotonic() - idle_since > (_SETTLED if self.pids else _BEGUN)
            if state["type"] in _OVER or (idle and state["type"] in ("RUNNING", "PENDING")):
                self.code = _CODES.get(said, _KILLED)

    def _state(self) -> dict[str, Any] | None:
        try:
            answer = httpx.get(self._url, timeout=10).raise_for_status()
            return dict(answer.json()["state"])
        except httpx.HTTPError:
            return None

    def _alive(self) -> set[int]:
        """Processes with its id in their environment, and what they started."""
        found = set()
        for pid in psutil.pids():
            with suppress(OSError):
                if self._mark in Path(f"/proc/{pid}/environ").read_bytes():
                    found.add(pid)
        self.pids |= found
        return found


class Deployed:
    """Starts nights as runs of deployments."""

    pids: frozenset[int] = frozenset()

    def __init__(self, work: Work, api: str) -> None:
        """Take the address of Prefect's API."""
        self._work, self._api = work, api

    def start(self, night: Night, fault: str, largest_file: int = 0) -> Run:
        """Ask for a run, which a worker takes."""
        flow = "gated-finetune" if night == "finetune" else "gate"
        config = yaml.safe_load((self._work.folder / f"{night}.yaml").read_text())
        with httpx.Client(base_url=self._api, timeout=60) as api:
            found = api.get(f"/deployments/name/{flow}/{flow}").raise_for_status().json()
            asked = {"parameters": {"config": config}, "state": {"type": "SCHEDULED"}}
            made = api.post(f"/deployments/{found['id']}/create_flow_run", json=asked)
            return Run(self._api, str(made.raise_for_status().json()["id"]))

    def close(self) -> None:
        """Nothing is to be closed."""
