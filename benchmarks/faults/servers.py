"""Real servers, which are killed, stopped and started again."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from signal import SIGKILL, Signals
from typing import Any

import httpx
import psutil

_GRACE = 90  # seconds from a signal to SIGKILL
_PATIENCE = 180  # seconds, in which a server answers on a busy machine


@dataclass
class Server:
    """A server in a process group of its own.

    Attributes:
        command: With its port.
        answers: Whether it is up.
        log: File of what it prints.
        options: Of Popen: another user, another folder.
    """

    command: list[str]
    answers: Callable[[], bool]
    log: Path
    environment: dict[str, str] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    _process: subprocess.Popen[bytes] | None = None

    @property
    def pids(self) -> set[int]:
        """Of its processes."""
        if self._process is None:
            return set()
        try:
            parent = psutil.Process(self._process.pid)
            return {parent.pid, *(child.pid for child in parent.children(recursive=True))}
        except psutil.NoSuchProcess:
            return set()

    def start(self) -> None:
        """Start it, and wait until it answers."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env={**os.environ, **self.environment}, start_new_session=True, **self.options,
            )  # fmt: skip
        deadline = time.monotonic() + _PATIENCE
        while not self.answers():
            if time.monotonic() > deadline or self._process.poll() is not None:
                raise RuntimeError(f"{self.command} does not answer; see {self.log}")
            time.sleep(0.2)

    def signal(self, number: Signals) -> None:
        """Send a signal to all of it; children of PostgreSQL have sessions of their own."""
        if self._process is None:
            return
        others = self.pids
        os.killpg(self._process.pid, number)
        for pid in others:
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def kill(self) -> None:
        """Kill it, as the kernel does when memory runs out."""
        self.signal(SIGKILL)
        self._wait()

    def end_alone(self, number: Signals) -> bool:
        """Send a signal to the process that was started, not to its children.

        Returns:
            Whether it has ended by that; otherwise it was killed, as a container is.
        """
        if self._process is None:
            return True
        self._process.send_signal(number)
        has_ended = True
        try:
            self._process.wait(_GRACE)
        except subprocess.TimeoutExpired:
            has_ended = False
            self._process.kill()
        self._wait()
        return has_ended

    def _wait(self) -> None:
        if self._process is not None:
            self._process.wait()
            self._process = None

    def memory_and_files(self) -> tuple[float, int]:
        """MiB that it holds, and files and sockets that it has open."""
        processes = [psutil.Process(pid) for pid in self.pids]
        mib = sum(process.memory_info().rss for process in processes) / 2**20
        return mib, sum(process.num_fds() for process in processes)


def free_port() -> int:
    """A port that nobody has."""
    with socket.socket() as there:
        there.bind(("127.0.0.1", 0))
        return int(there.getsockname()[1])


def responds(url: str) -> Callable[[], bool]:
    """Whether an address answers with success."""

    def asked() -> bool:
        try:
            return httpx.get(url, timeout=2).is_success
        except httpx.HTTPError:
            return False

    return asked


def prefect_server(folder: Path, port: int, database: str | None) -> Server:
    """Prefect's, with its database at an address, or in the folder."""
    api = f"http://127.0.0.1:{port}/api"
    command = [sys.executable, "-m", "prefect", "server", "start", "--port", str(port)]
    environment = {"PREFECT_HOME": str(folder / "prefect"), "PREFECT_API_URL": api}
    if database is not None:
        environment["PREFECT_API_DATABASE_CONNECTION_URL"] = f"postgresql+asyncpg://{database}"
    return Server(command, responds(f"{api}/health"), folder / "prefect.log", environment)


def mlflow_server(folder: Path, port: int, database: str | None) -> Server:
    """MLflow's, with its artifacts in the folder, and its database there or at an address."""
    store = f"sqlite:///{folder}/mlflow.db"
    if database is not None:
        store = f"postgresql+psycopg://{database}"
    command = [
        sys.executable, "-m", "mlflow", "server", "--port", str(port), "--workers", "1",
        "--backend-store-uri", store,
        "--artifacts-destination", str(folder / "artifacts"),
    ]  # fmt: skip
    environment = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    health = responds(f"http://127.0.0.1:{port}/health")
    return Server(command, health, folder / "mlflow.log", environment)


def wait_for(true: Callable[[], bool], seconds: float) -> bool:
    """Whether something became true in time; looked at every few milliseconds."""
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.003)
    return True
