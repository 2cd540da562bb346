"""The nights: a state folder, servers, and what is run on them again and again."""

import json
import os
import random
import subprocess
import time
import uuid
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.faults.faults import DEPLOYED_FAULTS, FAULTS, Scene, damage
from benchmarks.faults.invariants import Ended, Invariants
from benchmarks.faults.servers import Server, free_port, mlflow_server, prefect_server
from benchmarks.faults.site import Databases, Deployed, deploy, postgres_server
from benchmarks.faults.work import DECISIONS, NIGHTS, Commands, Facts, Night, Work

_MARK = ("GRADGATE_FAULTS", str(uuid.uuid4()))  # in the environment of all that is started
_PATIENCE = 600  # seconds, in which a night has to end
_DISK = "512m"
_PORTS = ("prefect", "mlflow", "postgres", "worker")


class Nights:
    """The servers, the state folder and the nights."""

    def __init__(
        self,
        folder: Path,
        seed: int,
        on_exit: ExitStack,
        nights: Sequence[Night] = NIGHTS,
        is_small: bool = False,
        is_deployed: bool = False,
    ) -> None:
        """Start what is needed.

        A small one has no server of MLflow, and no disk to be filled. Where the flows are deployed
        they are run by a worker, and the servers have their databases in PostgreSQL.
        """
        self.folder, self.seed, self.nights = folder, seed, nights
        self.faults = DEPLOYED_FAULTS if is_deployed else FAULTS
        self.state, self.results = folder / "state", folder / "results.jsonl"
        for path in (self.state, folder / "tmp"):
            path.mkdir(parents=True, exist_ok=True)
        if not is_small:
            _small_disk(self.state)
        ports = _ports(folder / "ports.json")
        server, file = f"http://127.0.0.1:{ports['mlflow']}", f"sqlite:///{folder}/mlflow.db"
        prefect_url = f"http://127.0.0.1:{ports['prefect']}/api"
        on_exit.callback(_set_environment, dict(os.environ))
        _surround(folder, self.state, prefect_url)
        databases = postgres_server(folder, ports["postgres"]) if is_deployed else None
        self.prefect = prefect_server(folder, ports["prefect"], _at(databases, "prefect"))
        self.mlflow = mlflow_server(folder, ports["mlflow"], _at(databases, "mlflow"))
        self.servers = [self.prefect] if is_small else [self.prefect, self.mlflow]
        if databases is not None:
            self.servers.insert(0, databases)
        for started in self.servers:
            started.start()
            on_exit.callback(started.kill)
            if started is databases:
                databases.make("prefect", "mlflow")
        self.work = Work(folder, file if is_small else server, self.state)
        self.starts: Commands | Deployed = (
            Commands(self.work) if not is_deployed else Deployed(self.work, prefect_url)
        )
        self.others: dict[str, Server] = {}
        on_exit.callback(self.starts.close)
        if databases is not None:
            self.others = {"postgres": databases, "worker": deploy(folder, ports["worker"])}
            self.others["worker"].start()
            on_exit.callback(self.others["worker"].kill)
            self.servers.append(self.others["worker"])
        self.invariants = Invariants(self.work, prefect_url, "=".join(_MARK))
        self._usual: dict[str, float] = {}
        self._expected: dict[str, Facts] = {}

    def warm_up(self) -> None:
        """Run every night without a fault: what is right, and how long it takes."""
        known = self.folder / "expected.json"
        if known.exists():
            for night, said in json.loads(known.read_text()).items():
                self._usual[night] = said.pop("seconds")
                self._expected[night] = Facts(**said)
            return
        for night in self.nights:
            started = time.monotonic()
            _, _, (name,) = self._run(night, "none", random.Random(0))
            self._usual[night] = time.monotonic() - started
            found = Facts.of(self.state / "runs" / name / "verdict.json")
            if found.decision != DECISIONS[night]:
                raise RuntimeError(f"{night}: the verdict is {found.decision}")
            self._expected[night] = found
        said = {n: {**asdict(self._expected[n]), "seconds": self._usual[n]} for n in self.nights}
        known.write_text(json.dumps(said))

    def night(self, i: int, fault: str | None = None) -> dict[str, Any]:
        """Run the night of that number, and say what it left."""
        chosen = random.Random(f"{self.seed}-{i}")
        night = chosen.choice(self.nights)
        names, weights = list(self.faults), [weight for weight, _ in self.faults.values()]
        fault = fault or chosen.choices(names, weights)[0]
        if fault == "store damaged":
            damage(self.state / "scores.db", chosen)
        elif chosen.random() < 0.4:
            for path in self.state.glob("scores.db*"):
                path.unlink()
        before = _names(self.state / "runs")
        started = time.monotonic()
        code, where, new = self._run(night, fault, chosen)
        seconds = time.monotonic() - started
        over = Ended(night, code, self._pids_of_night, new, fault not in ("none", "store damaged"))
        wrong = self.invariants.broken_by(over, self._expected[night], self._pids())
        lost = before - _names(self.state / "runs")
        wrong += [f"{name} is lost" for name in sorted(lost) if not name.endswith(".part")]
        servers = [server.memory_and_files() for server in self.servers]
        record = {
            "i": i, "night": night, "fault": fault, "where": where, "code": code,
            "seconds": round(seconds, 1), "wrong": wrong, "servers": servers,
            "left in TMPDIR": sorted(os.listdir(self.folder / "tmp")),
            "state": sum(p.stat().st_size for p in self.state.rglob("*") if p.is_file()),
            "runs": len(_names(self.state / "runs")),
        }  # fmt: skip
        with self.results.open("a") as file:
            file.write(json.dumps(record) + "\n")
        return record

    def _run(
        self, night: Night, fault: str, chosen: random.Random
    ) -> tuple[int | None, str, set[str]]:
        before = _names(self.state / "runs")
        limit = chosen.choice([2_000, 20_000, 100_000]) if fault == "no large files" else 0
        process = self.starts.start(night, fault, limit)
        scene = Scene(
            self.state, self.prefect, self.mlflow, process, before, night == "finetune",
            self._usual.get(night, 60), chosen, **self.others,
        )  # fmt: skip
        where = self.faults[fault][1](scene)
        code = process.end(_PATIENCE)
        self._pids_of_night = process.pids
        return code, where, _names(self.state / "runs") - before

    def _pids(self) -> set[int]:
        return {os.getpid()}.union(self.starts.pids, *(server.pids for server in self.servers))


def _surround(folder: Path, state: Path, prefect: str) -> None:
    """Say to all that is started where it is, and that it is of this benchmark."""
    os.environ |= {
        "GRADGATE_STATE_DIR": str(state), "PREFECT_API_URL": prefect,
        "PREFECT_HOME": str(folder / "home"), "TMPDIR": str(folder / "tmp"),
        "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", _MARK[0]: _MARK[1],
    }  # fmt: skip


def _set_environment(before: dict[str, str]) -> None:
    os.environ.clear()
    os.environ.update(before)


def _names(folder: Path) -> set[str]:
    return set(os.listdir(folder)) if folder.exists() else set()


def _at(databases: Databases | None, name: str) -> str | None:
    return None if databases is None else databases.address(name)


def _ports(path: Path) -> dict[str, int]:
    if not path.exists():
        path.write_text(json.dumps({name: free_port() for name in _PORTS}))
    found: dict[str, int] = json.loads(path.read_text())
    return found


def _small_disk(state: Path) -> None:
    """A disk of its own for the state folder, which can be filled; only root can make one."""
    command = ["mount", "-t", "tmpfs", "-o", f"size={_DISK}", "tmpfs", str(state)]
    if os.path.ismount(state):
        return
    if os.geteuid() or subprocess.run(command, check=False).returncode:
        raise SystemExit("a disk that can be filled takes root, and mount of tmpfs")
