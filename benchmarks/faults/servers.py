"""Real servers of Prefect and MLflow, which are killed, stopped and started again."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psutil

_PATIENCE = 180  # seconds, in which a server answers on a busy machine


@dataclass
class Server:
    """A server in a process group of its own.

    Attributes:
        command: With its port.
        health: Address that answers when it is up.
        log: File of what it prints.
    """

    command: list[str]
    health: str
    log: Path
    environment: dict[str, str] = field(default_factory=dict)
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
                env={**os.environ, **self.environment}, start_new_session=True,
            )  # fmt: skip
        deadline = time.monotonic() + _PATIENCE
        while not self._answers():
            if time.monotonic() > deadline or self._process.poll() is not None:
                raise RuntimeError(f"{self.command} does not answer; see {self.log}")
            time.sleep(0.2)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to all of it."""
        if self._process is not None:
            os.killpg(self._process.pid, number)

    def kill(self) -> None:
        """Kill it, as the kernel does when memory runs out."""
        if self._process is not None:
            self.signal(signal.SIGKILL)
            self._process.wait()
            self._process = None

    def memory_and_files(self) -> tuple[float, int]:
        """MiB that it holds, and files and sockets that it has open."""
        processes = [psutil.Process(pid) for pid in self.pids]
        mib = sum(process.memory_info().rss for process in processes) / 2**20
        return mib, sum(process.num_fds() for process in processes)

    def _answers(self) -> bool:
        try:
            return httpx.get(self.health, timeout=2).is_success
        except httpx.HTTPError:
            return False


def free_port() -> int:
    """A port that nobody has."""
    with socket.socket() as there:
        there.bind(("127.0.0.1", 0))
        return int(there.getsockname()[1])


def prefect_server(folder: Path, port: int) -> Server:
    """Prefect's, with its database in the folder."""
    api = f"http://127.0.0.1:{port}/api"
    command = [sys.executable, "-m", "prefect", "server", "start", "--port", str(port)]
    environment = {"PREFECT_HOME": str(folder / "prefect"), "PREFECT_API_URL": api}
    return Server(command, f"{api}/health", folder / "prefect.log", environment)


def mlflow_server(folder: Path, port: int) -> Server:
    """MLflow's, with its database and its artifacts in the folder."""
    command = [
        sys.executable, "-m", "mlflow", "server", "--port", str(port), "--workers", "1",
        "--backend-store-uri", f"sqlite:///{folder}/mlflow.db",
        "--artifacts-destination", str(folder / "artifacts"),
    ]  # fmt: skip
    environment = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    return Server(command, f"http://127.0.0.1:{port}/health", folder / "mlflow.log", environment)


def wait_for(true: Callable[[], bool], seconds: float) -> bool:
    """Whether something became true in time; looked at every few milliseconds."""
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.003)
    return True
