"""The services of docker-compose.yaml as processes of this machine, with a real PostgreSQL.

Each is started by the command and the environment that the file gives it; only addresses and paths
are those of this machine. The store is moto's server, which speaks S3 over HTTP.
"""

import os
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil
from compose_helpers import example, resolved
from moto.server import ThreadedMotoServer
from postgres import Postgres, free_port, postgres

_MARK = "GRADGATE_TEST_SITE"  # in the environment of every process that a site has started
_PATIENCE = 240  # seconds; the machine may be busy
_NOT_INHERITED = ("PREFECT_", "MLFLOW_", "AWS_", "GRADGATE_", "PYTHONPATH")


def inherited() -> dict[str, str]:
    """The environment without what tells programs of this test run where they are."""
    return {k: v for k, v in os.environ.items() if not k.startswith(_NOT_INHERITED)}


@dataclass
class Site:
    """Where the services are, and how to talk to them.

    Attributes:
        folder: Logs, the state of the worker, and whatever else is written.
        programs: The folder with `python` and `prefect` of the worker.
        home: The folder with the flows, which the worker finds by GRADGATE_HOME.
    """

    folder: Path
    programs: Path
    home: Path
    postgres: Postgres
    store: int
    key: Path
    prefect: int = field(default_factory=free_port)
    mlflow: int = field(default_factory=free_port)
    values: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Make up the passwords that .env has."""
        self.values = {name: value or secrets.token_hex(16) for name, value in example().items()}
        self.values["POSTGRES_PASSWORD"] = self.postgres.password

    @property
    def content(self) -> dict[str, Any]:
        return resolved(self.values)

    @property
    def state(self) -> Path:
        return self.folder / "state"

    @property
    def api(self) -> httpx.Client:
        """A client of Prefect's API, as its user."""
        user = ("gradgate", self.values["PREFECT_PASSWORD"])
        return httpx.Client(base_url=f"http://127.0.0.1:{self.prefect}/api", auth=user, timeout=60)

    def store_options(self) -> dict[str, Any]:
        """How s3fs reaches the store."""
        return {
            "key": "gradgate",
            "secret": self.values["S3_PASSWORD"],
            "endpoint_url": f"http://127.0.0.1:{self.store}",
        }

    def here(self, text: str) -> str:
        """An address or a path of the containers, as it is on this machine."""
        places = {
            "postgres:5432": f"127.0.0.1:{self.postgres.port}",
            "store:8333": f"127.0.0.1:{self.store}",
            "prefect:4200": f"127.0.0.1:{self.prefect}",
            "mlflow:5000": f"127.0.0.1:{self.mlflow}",
            "/run/secrets/gate_key": str(self.key),
            "0.0.0.0": "127.0.0.1",
        }
        ports = {"4200": str(self.prefect), "5000": str(self.mlflow)}
        for there, where in places.items():
            text = text.replace(there, where)
        return ports.get(text, text)

    def start(self, service: str, programs: Path) -> subprocess.Popen[bytes]:
        """Start a service of docker-compose.yaml, with the programs of a folder."""
        found = self.content["services"][service]
        environment = {
            **inherited(),
            "PATH": f"{programs}:{os.environ['PATH']}",
            "PREFECT_HOME": str(self.folder / f"prefect-{service}"),
            "GRADGATE_HOME": str(self.home),  # the images set both
            "GRADGATE_STATE_DIR": str(self.state),
            "PREFECT_SERVER_SERVICES_SCHEDULER_LOOP_SECONDS": "5",  # so that nobody waits a minute
            _MARK: str(self.folder),
            **{name: self.here(value) for name, value in found["environment"].items()},
        }
        (self.folder / service).mkdir(exist_ok=True)
        with self.log(service).open("ab") as log:
            return subprocess.Popen(
                [self.here(word) for word in found["command"]],
                env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                cwd=self.home if service == "deploy" else self.folder / service,
            )  # fmt: skip

    def log(self, service: str) -> Path:
        return self.folder / f"{service}.log"

    def run(self, service: str, programs: Path) -> None:
        """Run a service to its end."""
        code = self.start(service, programs).wait(_PATIENCE)
        assert code == 0, self.log(service).read_text()

    def wait_for(self, service: str, url: str) -> None:
        """Wait until a service answers."""
        deadline = time.monotonic() + _PATIENCE
        while True:
            with suppress(httpx.HTTPError):
                if httpx.get(url).is_success:
                    return
            assert time.monotonic() < deadline, self.log(service).read_text()
            time.sleep(0.2)


@contextmanager
def running_site(folder: Path, programs: Path, home: Path, key: Path) -> Iterator[Site]:
    """Start all services, deploy the flows and start a worker; at the end nothing runs on."""
    store = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    store.start()
    try:
        with postgres() as database:
            _, port = store.get_host_and_port()
            site = Site(folder, programs, home, database, port, key)
            try:
                _start(site)
                yield site
            finally:
                end_all({_MARK: str(folder)})
    finally:
        store.stop()


def _start(site: Site) -> None:
    ours = Path(sys.executable).parent
    site.postgres.execute(site.content["configs"]["databases"]["content"])
    for service in ("prefect", "mlflow"):
        site.start(service, ours)
    site.wait_for("prefect", f"http://127.0.0.1:{site.prefect}/api/ready")
    site.wait_for("mlflow", f"http://127.0.0.1:{site.mlflow}/health")
    site.run("deploy", site.programs)
    site.start("worker", site.programs)


def end_all(mark: Mapping[str, str]) -> None:
    """End every process with a mark in its environment, also those that left their session."""
    marked = [process for process in psutil.process_iter() if _has(process, mark)]
    for process in marked:
        with suppress(psutil.NoSuchProcess):
            process.terminate()
    _, alive = psutil.wait_procs(marked, timeout=20)
    for process in alive:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(alive, timeout=20)


def _has(process: psutil.Process, mark: Mapping[str, str]) -> bool:
    try:
        return mark.items() <= process.environ().items()
    except psutil.Error:
        return False
