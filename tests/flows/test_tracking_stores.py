"""Where MLflow keeps the runs: which databases and servers are used, and which refused."""

import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from forked import Child, Forker
from mlflow import MlflowClient
from postgres import free_port
from tracking_helpers import config, read

import tasks.tracking as tracking
from gradgate.errors import ConfigError, TransientError
from tasks.tracking import TrackedRun, start_run


@contextmanager
def answering(status: int) -> Iterator[str]:
    """URI of a server that answers every request with `status`."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_default_store_is_in_the_state(state: Path, tmp_path: Path) -> None:
    run = start_run(config(), "gate", "first")
    assert run.uri == f"sqlite:///{state}/mlflow.db"
    info = read(run).info
    assert info.status == "RUNNING"
    assert info.run_name == "first"
    assert unquote(urlsplit(info.artifact_uri).path).startswith(f"{state}/mlartifacts/")
    assert [path.name for path in tmp_path.iterdir()] == [state.name]  # none in the cwd


START = """
import sys, time
from pathlib import Path
from gradgate.gate.config import GateConfig
from tasks.tracking import end_run, log_metrics, start_run
config = GateConfig.model_validate({"data": {"source": "a"}, "model": {"path": "m"}})
print("ready", flush=True)
while not Path(sys.argv[2]).exists():
    time.sleep(0.001)
run = start_run(config, "gate", sys.argv[1])
for step in range(20):
    log_metrics(run, {"x": step})
end_run(run, ok=True)
print(run.experiment_id, run.run_id)
"""


def test_two_processes_may_start_at_once_on_a_fresh_folder(
    fresh_state: Path, tmp_path: Path, flow_processes: Forker
) -> None:
    go, started = tmp_path / "go", dict[str, Child]()
    for name in ("one", "two"):
        with (tmp_path / name).open("w") as out:
            started[name] = flow_processes.start(START, name, go, stdout=out)
    while not all((tmp_path / name).read_text() for name in started):
        time.sleep(0.01)
    go.touch()
    assert [process.wait() for process in started.values()] == [0, 0]
    answers = [(tmp_path / name).read_text().split()[1:] for name in started]
    assert len({experiment for experiment, _ in answers}) == 1
    for experiment, run_id in answers:
        found = read(TrackedRun(f"sqlite:///{fresh_state}/mlflow.db", experiment, run_id))
        assert found.info.status == "FINISHED"
        assert found.data.metrics == {"x": 19.0}


def test_unreachable_server_is_transient_and_quick(fresh_state: Path) -> None:
    begin = time.monotonic()
    with pytest.raises(TransientError) as caught:
        start_run(config(f"http://me:secret@127.0.0.1:{free_port()}"), "gate", "x")
    assert time.monotonic() - begin < 20
    assert "http://***@127.0.0.1:" in str(caught.value)
    assert "secret" not in str(caught.value)
    assert caught.value.__cause__ is None  # MLflow's own message holds the credentials


def test_server_error_is_transient(fresh_state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with answering(503) as uri, pytest.raises(TransientError, match=r"127\.0\.0\.1"):
        start_run(config(uri), "gate", "x")


@pytest.mark.parametrize("status", [401, 404])
def test_refusing_server_is_final(status: int, fresh_state: Path) -> None:
    with answering(status) as uri, pytest.raises(ConfigError, match="refused"):
        start_run(config(uri), "gate", "x")


@pytest.mark.parametrize(
    "uri",
    ["file:///tmp/mlruns", "/tmp/mlruns", "mlruns", "ftp://host", "http://", "sqlite://"],
)
def test_wrong_uri_is_final(uri: str, fresh_state: Path) -> None:
    with pytest.raises(ConfigError, match=r"tracking\.uri"):
        start_run(config(uri), "gate", "x")


def test_relative_database_becomes_absolute(state: Path, tmp_path: Path) -> None:
    shutil.copy(state / "mlflow.db", tmp_path / "own.db")
    run = start_run(config("sqlite:///own.db"), "gate", "x")
    assert run.uri == f"sqlite:///{tmp_path}/own.db"
    artifacts = unquote(urlsplit(read(run).info.artifact_uri).path)
    assert artifacts.startswith(f"{state}/mlartifacts/")


def test_unusable_database_folder_is_final(fresh_state: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file" / "mlflow.db", Path("/proc/mlflow.db"), tmp_path):
        with pytest.raises(ConfigError, match="cannot be written"):
            start_run(config(f"sqlite:///{path}"), "gate", "x")


def test_unusable_state_is_final(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("GRADGATE_STATE_DIR", str(tmp_path / "file" / "state"))
    with pytest.raises(ConfigError, match="GRADGATE_STATE_DIR"):
        start_run(config(), "gate", "x")


def test_file_that_is_no_database_is_final(fresh_state: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.db").write_text("these are notes, not a database " * 100)
    with pytest.raises(ConfigError, match="not a database"):
        start_run(config(f"sqlite:///{tmp_path / 'notes.db'}"), "gate", "x")


def test_deleted_experiment_is_not_restored(state: Path) -> None:
    run = start_run(config(), "gate", "x")
    MlflowClient(tracking_uri=run.uri).delete_experiment(run.experiment_id)
    with pytest.raises(ConfigError, match="'exp' was deleted"):
        start_run(config(), "gate", "y")


def test_unknown_run_is_final(state: Path) -> None:
    run = start_run(config(), "gate", "x")
    with pytest.raises(ConfigError, match="not found"):
        tracking.end_run(TrackedRun(run.uri, run.experiment_id, "0" * 32), ok=True)
