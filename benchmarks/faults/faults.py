"""The faults: what is done to a night while it runs."""

import os
import random
import shutil
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from benchmarks.faults.servers import Server, wait_for
from benchmarks.faults.site import Run
from benchmarks.faults.work import Process

# Files of a run by which it is seen how far it has come.
STEPS = (
    "{part}/run.json", "{part}/config.yaml", "{part}/samples.parquet", "{part}/dataset.json",
    "{part}/scores.parquet", "{part}/flags.parquet", "{part}/rows", "{part}/verdict.json",
    "{part}/attestation.json", "{part}/report.html", "{run}/verdict.json",
    "{run}/adapter.held.part", "{run}/adapter.held", "{run}/adapter_test.json", "{run}/adapter",
)  # fmt: skip


@dataclass
class Scene:
    """Where a fault strikes.

    Attributes:
        state: The state folder, on a disk of its own where `ballast` can fill it.
        before: Folders of runs that were there before.
        is_finetuning: Whether the night has the steps of a fine-tuning too.
        usual: Seconds that such a night takes.
    """

    state: Path
    prefect: Server
    mlflow: Server
    process: Process | Run
    before: set[str]
    is_finetuning: bool
    usual: float
    random: random.Random
    postgres: Server | None = None
    worker: Server | None = None

    def sometime(self) -> str:
        """Wait for a random moment of the night, or its end; says which."""
        moment = self.random.uniform(0, self.usual)
        wait_for(lambda: self.process.is_over, moment)
        return f"{moment:.1f} s"

    def step(self) -> str:
        """Wait for a random step of the night; says which."""
        wanted = self.random.choice(STEPS if self.is_finetuning else STEPS[:-4])
        wait_for(lambda: self.process.is_over or self._reached(wanted), 10 * self.usual)
        return wanted

    def _reached(self, wanted: str) -> bool:
        runs = self.state / "runs"
        for name in set(os.listdir(runs) if runs.exists() else ()) - self.before:
            run = name.removesuffix(".part")
            if os.path.exists(runs / wanted.format(part=f"{run}.part", run=run)):
                return True
        return False


Fault = Callable[[Scene], str]


def nothing(scene: Scene) -> str:
    """Nothing happens."""
    return ""


def _signalled(number: signal.Signals, at_step: bool) -> Fault:
    def strike(scene: Scene) -> str:
        where = scene.step() if at_step else scene.sometime()
        scene.process.send(number)
        return where

    return strike


def _server_killed(name: str) -> Fault:
    def strike(scene: Scene) -> str:
        server: Server = getattr(scene, name)
        where = scene.step() if scene.random.random() < 0.5 else scene.sometime()
        server.kill()
        time.sleep(scene.random.uniform(0, 10))
        server.start()
        return where

    return strike


def _server_silent(name: str) -> Fault:
    def strike(scene: Scene) -> str:
        server: Server = getattr(scene, name)
        where = scene.sometime()
        server.signal(signal.SIGSTOP)
        time.sleep(scene.random.uniform(1, 30))
        server.signal(signal.SIGCONT)
        return where

    return strike


def _worker_alone(number: signal.Signals) -> Fault:
    def strike(scene: Scene) -> str:
        """Of the worker only, and not of the run, which has a session of its own."""
        assert scene.worker is not None
        where = scene.step() if scene.random.random() < 0.5 else scene.sometime()
        if not scene.worker.end_alone(number):
            where += ", and it went on until it was killed"
        time.sleep(scene.random.uniform(0, 10))
        scene.worker.start()
        return where

    return strike


def disk_full(scene: Scene) -> str:
    """The disk of the state folder fills up at a random step, and is emptied later."""
    where = scene.step()
    ballast = scene.state / "ballast"
    left = scene.random.choice([4096, 65_536, 262_144])
    _fill(ballast, left)
    wait_for(lambda: scene.process.is_over, scene.usual)
    ballast.unlink()
    return f"{where}, {left} bytes left"


def _fill(ballast: Path, left: int) -> None:
    """Leave so many bytes of the disk, roughly: the night writes too."""
    with ballast.open("wb") as file:
        while (free := shutil.disk_usage(ballast.parent).free) > left:
            with suppress(OSError):
                os.posix_fallocate(file.fileno(), os.fstat(file.fileno()).st_size, free - left)


def all_at_once(scene: Scene) -> str:
    """The machine loses its power: everything is killed at the same time."""
    where = scene.step()
    scene.process.send(signal.SIGKILL)
    scene.mlflow.kill()
    scene.prefect.kill()
    scene.prefect.start()
    scene.mlflow.start()
    return where


FAULTS: dict[str, tuple[int, Fault]] = {
    "none": (3, nothing),
    "SIGTERM sometime": (2, _signalled(signal.SIGTERM, False)),
    "SIGTERM at a step": (3, _signalled(signal.SIGTERM, True)),
    "SIGKILL sometime": (2, _signalled(signal.SIGKILL, False)),
    "SIGKILL at a step": (4, _signalled(signal.SIGKILL, True)),
    "Prefect killed": (2, _server_killed("prefect")),
    "MLflow killed": (2, _server_killed("mlflow")),
    "Prefect silent": (1, _server_silent("prefect")),
    "MLflow silent": (1, _server_silent("mlflow")),
    "everything killed": (1, all_at_once),
    "disk full": (2, disk_full),
    "no large files": (1, nothing),  # by a limit that the process begins with
    "store damaged": (2, nothing),  # before it begins
}

DEPLOYED_FAULTS: dict[str, tuple[int, Fault]] = {
    "none": (2, nothing),
    "PostgreSQL killed": (4, _server_killed("postgres")),
    "PostgreSQL silent": (2, _server_silent("postgres")),
    "worker SIGKILL": (3, _worker_alone(signal.SIGKILL)),
    "worker and run SIGKILL": (3, _server_killed("worker")),
    "worker SIGTERM": (3, _worker_alone(signal.SIGTERM)),
}


def damage(path: Path, random_: random.Random) -> None:
    """Overwrite, cut or replace a file."""
    if not path.exists():
        return
    size = path.stat().st_size
    with path.open("r+b") as file:
        match random_.randrange(3):
            case 0:
                file.seek(random_.randrange(max(1, size)))
                file.write(random_.randbytes(4096))
            case 1:
                file.truncate(random_.randrange(max(1, size)))
            case _:
                file.write(random_.randbytes(100))
