"""What a process that was killed or stopped leaves behind: nothing that seems to go on."""

import json
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from sqlite3 import connect
from typing import TypeVar

import psutil
import pytest
import yaml
from forked import FLOWS, Child, Forker
from mlflow import MlflowClient
from mlflow.entities import Run
from prefect.exceptions import TerminationSignal
from prefect.utilities.engine import capture_sigterm
from tracking_helpers import config, read

from flows.outcome import as_the_signal
from gradgate.common.files import aside
from gradgate.common.processes import Process
from gradgate.common.run_folder import RunFolder
from gradgate.config import TrackingConfig
from gradgate.errors import ConfigError
from helpers import MODEL, question_rows, write_jsonl
from tasks.dead_runs import close_dead_runs
from tasks.run import GateRun, run_folder, save_tracked
from tasks.tracking import end_run, set_tags, start_run

Found = TypeVar("Found")
Hold = Callable[..., tuple[Child, list[str]]]

# Opens a gate's run, its folder and a run of a fine-tuning below it, says so and waits.
HOLD = """
import signal, sys
from tracking_helpers import config
from flows.outcome import as_the_signal
from gradgate.common.processes import Process
from gradgate.common.run_folder import RunFolder
from tasks.run import run_folder, save_tracked
from tasks.tracking import start_run
name = sys.argv[1]
settings = config(sys.argv[2] or None)
part, run = RunFolder(run_folder(name)).part, start_run(settings, "gate", name)
part.path.mkdir(parents=True)
save_tracked(part, run)
nested = start_run(settings, "finetune", f"{name}, nested", run)
print(run.run_id, nested.run_id, flush=True)
signal.pause()
"""

# Closes what others left behind, at a time.
CLOSE = """
import sys, time
from tracking_helpers import config
from tasks.dead_runs import close_dead_runs
settings = config()
while time.time() < float(sys.argv[1]):
    pass
close_dead_runs(settings)
print("closed")
"""

# Opens a gate's run and publishes its pass, and is killed at the first call of a function.
DIE = """
import os, signal, sys
from flow_helpers import config
import tasks.run
import tasks.track
from gradgate.config import TrackingConfig
from gradgate.gate.pipeline import run_gate
module, name = sys.argv[1].split(".")
setattr(getattr(tasks, module), name, lambda *_: os.kill(os.getpid(), signal.SIGKILL))
settings = config(sys.argv[2], tracking=TrackingConfig(experiment="exp"))
run = tasks.track.open_run.fn(settings, "killed", 1, "killed")
tasks.track.publish.fn(run, settings, run_gate(settings, run.folder.part))
"""


@pytest.fixture
def hold(flow_processes: Forker, tmp_path: Path) -> Iterator[Hold]:
    """Starts a process with a gate run of that name, which goes on, and gives the runs' ids."""
    started: list[Child] = []

    def start(name: str, uri: str = "") -> tuple[Child, list[str]]:
        path = tmp_path / f"runs of {name}"
        with path.open("w") as out:
            started.append(flow_processes.start(HOLD, name, uri, stdout=out))
        wait_for(lambda: path.read_text().splitlines())
        return started[-1], path.read_text().split()

    yield start
    for child in started:
        child.kill()


def killed_at(flow_processes: Forker, function: str, folder: Path) -> None:
    """A process that is killed when it comes to a function of `tasks`: `run.save_tracked`."""
    source = write_jsonl(folder / "rows.jsonl", question_rows(60))
    done = flow_processes.run(DIE, function, source)
    assert done.returncode == -signal.SIGKILL, done.stderr


def statuses(state: Path) -> dict[str, str]:
    client = MlflowClient(f"sqlite:///{state}/mlflow.db")
    runs: list[Run] = list(
        client.search_runs([e.experiment_id for e in client.search_experiments()])
    )
    return {run.info.run_id: run.info.status for run in runs}


def test_the_next_start_closes_the_runs_of_a_killed_process_and_no_others(
    state: Path, hold: Hold
) -> None:
    (killed, dead), (_, alive) = hold("killed"), hold("alive")
    assert len(dead) == len(alive) == 2
    killed.kill()
    assert set(statuses(state).values()) == {"RUNNING"}
    close_dead_runs(config())
    found = statuses(state)
    assert [found[run] for run in dead] == ["KILLED", "KILLED"]
    assert [found[run] for run in alive] == ["RUNNING", "RUNNING"]
    assert [path.name for path in (state / "runs").iterdir()] == ["alive.part"]


def test_two_first_starts_at_once_make_one_database(
    flow_processes: Forker, state: Path, tmp_path: Path
) -> None:
    at, started = time.time() + 1, list[Child]()
    paths = [tmp_path / name for name in ("one", "other")]
    for path in paths:
        with path.open("w") as out:
            started.append(flow_processes.start(CLOSE, at, stdout=out, stderr=out))
    for child in started:
        child.wait()
    assert [path.read_text().splitlines()[-1:] for path in paths] == [["closed"], ["closed"]]
    assert statuses(state) == {}


def test_a_killed_fine_tuning_loses_its_part_and_the_gate_keeps_its_evidence(
    state: Path, hold: Hold
) -> None:
    killed, (gate_run, nested) = hold("gate")
    folder = RunFolder(run_folder("gate"))
    folder.part.path.rename(folder.path)  # the gate is over
    MlflowClient(f"sqlite:///{state}/mlflow.db").set_terminated(gate_run)
    aside(folder.adapter).mkdir()
    aside(folder.model).mkdir()
    aside(folder.held_adapter).mkdir()
    killed.kill()
    close_dead_runs(config())
    assert statuses(state) == {gate_run: "FINISHED", nested: "KILLED"}
    assert [path.name for path in folder.path.iterdir()] == ["run.json"]


def test_a_verdict_whose_folder_did_not_get_its_name_is_taken_back(
    state: Path, tmp_path: Path, flow_processes: Forker
) -> None:
    killed_at(flow_processes, "track.put_in_place", tmp_path)
    client = MlflowClient(f"sqlite:///{state}/mlflow.db")
    (run_id,) = statuses(state)
    before = client.get_run(run_id)
    assert (before.info.status, before.data.tags["gradgate.verdict"]) == ("FINISHED", "pass")
    close_dead_runs(config())
    after = client.get_run(run_id)
    assert after.info.status == "KILLED"
    assert "gradgate.verdict" not in after.data.tags
    assert not list((state / "runs").iterdir())


def test_a_folder_that_names_no_process_goes_when_it_is_old_and_empty(
    state: Path, tmp_path: Path, flow_processes: Forker
) -> None:
    killed_at(flow_processes, "run.save_tracked", tmp_path)
    earlier = state / "runs" / "earlier.part"
    earlier.mkdir()
    (earlier / "run.json").write_text('{"run_id": "of an earlier version"}')
    close_dead_runs(config())
    assert list(statuses(state).values()) == ["KILLED"]
    assert {path.name for path in (state / "runs").iterdir()} == {"killed.part", "earlier.part"}
    for path in (state / "runs").iterdir():
        os.utime(path, (time.time() - 100_000,) * 2)
    close_dead_runs(config())
    assert list((state / "runs").iterdir()) == [earlier]


def test_a_start_elsewhere_that_closes_the_run_does_not_save_its_folder(
    state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hold: Hold
) -> None:
    uri = f"sqlite:///{state}/mlflow.db"
    killed, _ = hold("killed", uri)
    killed.kill()
    monkeypatch.setenv("GRADGATE_STATE_DIR", str(tmp_path / "another state"))
    close_dead_runs(config(uri))
    assert set(statuses(state).values()) == {"KILLED"}
    assert (state / "runs" / "killed.part").exists()
    monkeypatch.setenv("GRADGATE_STATE_DIR", str(state))
    tracking = TrackingConfig(uri=uri, experiment="another experiment")
    close_dead_runs(config().model_copy(update={"tracking": tracking}))
    assert not list((state / "runs").iterdir())


def test_a_folder_whose_run_is_in_another_store_is_left_to_that_store(
    state: Path, tmp_path: Path, hold: Hold
) -> None:
    killed, _ = hold("killed")
    killed.kill()
    shutil.copy(state / "mlflow.db", tmp_path / "other.db")
    close_dead_runs(config(f"sqlite:///{tmp_path}/other.db"))
    assert (state / "runs" / "killed.part").exists()
    close_dead_runs(config())
    assert not list((state / "runs").iterdir())


@pytest.mark.parametrize(
    ("where", "last"), [("drills", "drill.json"), ("comparisons", "compare.json")]
)
def test_a_killed_drill_or_comparison_leaves_no_folder(
    state: Path, monkeypatch: pytest.MonkeyPatch, where: str, last: str
) -> None:
    folders = {}
    for name in ("killed", "failed", "whole", "alive"):
        run = start_run(config(), "drill", name)
        folder = folders[name] = RunFolder(state / where / name)
        folder.path.mkdir(parents=True)
        if name != "alive":
            gone = Process(Process.this().host, 999_999_999, 1.0)
            monkeypatch.setattr(Process, "this", lambda gone=gone: gone)
        save_tracked(folder, run)
        monkeypatch.undo()
        monkeypatch.setenv("GRADGATE_STATE_DIR", str(state))
        if name == "failed":
            end_run(run, ok=False)
    (folders["whole"].path / last).touch()
    close_dead_runs(config())
    assert sorted(path.name for path in (state / where).iterdir()) == ["alive", "failed", "whole"]
    assert sorted(statuses(state).values()) == ["FAILED", "KILLED", "RUNNING", "RUNNING"]


def test_a_folder_of_another_host_is_left_alone(state: Path) -> None:
    run = GateRun(RunFolder(run_folder("other")), start_run(config(), "gate", "other"))
    run.folder.part.path.mkdir(parents=True)
    save_tracked(run.folder.part, run.tracked)
    for host, is_left in (("another host", True), (Process.this().host, False)):
        record = json.loads(run.folder.part.tracked.read_text())
        record["owner"] = {"host": host, "pid": 999_999_999, "started": 1.0}
        run.folder.part.tracked.write_text(json.dumps(record))
        close_dead_runs(config())
        assert run.folder.part.path.exists() == is_left
        assert read(run.tracked).info.status == ("RUNNING" if is_left else "KILLED")


@pytest.mark.parametrize(
    "tags",
    [
        {"gradgate.host": "another host", "gradgate.pid": "999999999"},
        {"gradgate.pid": "of an earlier version"},
        {},
    ],
    ids=["another host", "no number", "alive"],
)
def test_a_run_that_is_not_known_to_be_dead_is_left_alone(
    state: Path, tags: dict[str, str]
) -> None:
    run = GateRun(RunFolder(run_folder("other")), start_run(config(), "gate", "other"))
    run.folder.part.path.mkdir(parents=True)
    save_tracked(run.folder.part, run.tracked)
    set_tags(run.tracked, tags)
    close_dead_runs(config())
    assert read(run.tracked).info.status == "RUNNING"
    assert run.folder.part.tracked.exists()


def test_another_process_with_the_same_number_is_no_sign_of_life(state: Path) -> None:
    run = start_run(config(), "gate", "reused")
    assert float(read(run).data.tags["gradgate.process_started"]) == Process.this().started
    set_tags(run, {"gradgate.process_started": str(Process.this().started - 1000)})
    close_dead_runs(config())
    assert read(run).info.status == "KILLED"


def test_a_run_whose_parameters_cannot_be_logged_does_not_seem_to_go_on(state: Path) -> None:
    with closing(connect(state / "mlflow.db")) as database:
        database.execute(
            "CREATE TRIGGER fault BEFORE INSERT ON params BEGIN SELECT RAISE(ABORT, 'fault'); END"
        )
    for _ in range(2):  # a retry opens another one
        with pytest.raises(ConfigError, match="fault"):
            start_run(config(), "gate", "broken")
    assert list(statuses(state).values()) == ["FAILED", "FAILED"]


@pytest.mark.server
@pytest.mark.slow
@pytest.mark.parametrize("when", ["starting", "running"])
def test_sigterm_leaves_neither_a_server_nor_a_run_behind(
    state: Path, tmp_path: Path, flow_processes: Forker, when: str
) -> None:
    settings = {
        "data": {"source": str(write_jsonl(tmp_path / "rows.jsonl", question_rows(1_000)))},
        "model": {"path": str(MODEL), "device": "cpu", "dtype": "float32"},
        "scoring": {"batch_tokens": 64},
    }
    (tmp_path / "gate.yaml").write_text(yaml.safe_dump(settings))
    with (tmp_path / "log").open("w") as log:
        command = ("gate", tmp_path / "gate.yaml")
        process = flow_processes.start(FLOWS, *command, stdout=log, stderr=log)
    try:
        children = wait_for(lambda: children_with_server(process.pid))
        if when == "running":
            wait_for(lambda: list((state / "runs").glob("*.part/dataset.json")))
        os.kill(process.pid, signal.SIGTERM)
        assert process.wait() == 128 + signal.SIGTERM, (tmp_path / "log").read_text()
        assert not [child for child in children if child.is_running()]
    finally:
        process.kill()
    if when == "running":
        (ended,) = statuses(state).values()
        assert ended == "FAILED"
        assert not list((state / "runs").glob("*.part"))


def test_a_signal_that_prefect_hides_is_told() -> None:
    def hidden(error: BaseException) -> None:
        try:
            raise error
        except BaseException:
            raise ValueError("Task run is not set")  # noqa: B904  # as Prefect does

    with pytest.raises(TerminationSignal), as_the_signal():
        hidden(TerminationSignal(signal=signal.SIGTERM))
    with pytest.raises(ValueError, match="not set"), as_the_signal():
        hidden(OSError("no signal"))


@pytest.fixture
def sigterm_is_ignored() -> Iterator[None]:
    """Prefect sends the signal on to the handler before its own: that must not end the tests."""
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.mark.usefixtures("sigterm_is_ignored")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_signal_that_comes_in_a_destructor_comes_again() -> None:
    class Ends:
        def __del__(self) -> None:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.01)

    went_on = []

    def flow() -> None:
        with capture_sigterm(), as_the_signal():
            Ends()
            went_on.append(True)  # nothing was raised there
            time.sleep(10)

    with pytest.raises(TerminationSignal):
        flow()
    assert went_on


def children_with_server(pid: int) -> list[psutil.Process]:
    """What a process started, when a server is among it that has come as far as its own program.

    Until then the process does not know of it, and nobody could end it; and it learns of it a
    moment later.
    """
    children = psutil.Process(pid).children(recursive=True)
    latest = time.time() - 0.5
    servers = [child for child in children if child.create_time() < latest]
    return children if any(map(is_server, servers)) else []


def is_server(process: psutil.Process) -> bool:
    """Whether its program is a server; one that has just ended has none."""
    with suppress(psutil.Error):
        return "uvicorn" in process.cmdline()
    return False


def wait_for(found: Callable[[], list[Found]]) -> list[Found]:
    deadline = time.monotonic() + 120
    while not (result := found()):
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.1)
    return result
