"""prefect.yaml against a real Prefect server, and a run through a real worker."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from prefect.cli.deploy._models import PrefectYamlModel
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.testing.cli import CycloptsCliRunner

from flows.cli import app
from gradgate.cli.running import run
from gradgate.compare.config import CompareConfig
from gradgate.config import FinetuneConfig, Section
from gradgate.drill.config import DrillConfig
from gradgate.gate.config import GateConfig
from gradgate.gate.verdict import load_verdict
from gradgate.train.config import GatedFinetuneConfig
from helpers import MODEL, question_rows, write_jsonl

ROOT = Path(__file__).parents[2]
PREFECT = [sys.executable, "-m", "prefect"]
OF_DEPLOYMENTS = {"deployments": {"name": {"like_": "gate"}}}  # other tests run flows by themselves
ENTROPY_ALONE = {
    "detection": {
        "methods": ["gradsentry"],
        "gradsentry": {"threshold": {"method": "fixed", "value": 0.7}},
        "power": {"attacks": []},
    },
}


def test_prefect_yaml_has_no_key_that_prefect_would_ignore() -> None:
    content = yaml.safe_load((ROOT / "prefect.yaml").read_text())
    unknown: list[str] = []

    def walk(given: Any, understood: Any, where: str) -> None:
        if isinstance(given, dict) and isinstance(understood, dict):
            for key, value in given.items():
                unknown.extend([f"{where}{key}"] * (key not in understood))
                walk(value, understood.get(key), f"{where}{key}.")
        elif isinstance(given, list) and isinstance(understood, list):
            for value, other in zip(given, understood, strict=True):
                walk(value, other, f"{where}[].")

    walk(content, PrefectYamlModel.model_validate(content).model_dump(by_alias=True), "")
    # `definitions` is only what the anchors of YAML stand for
    assert {key for key in unknown if not key.startswith("definitions")} == set()


def test_the_deployments_have_valid_parameters_and_wait_for_nobody() -> None:
    content = yaml.safe_load((ROOT / "prefect.yaml").read_text())
    by_name = {d["name"]: d for d in content["deployments"]}
    assert [*by_name] == ["gate", "gated-finetune", "approve", "drill", "compare"]
    approve = by_name.pop("approve")  # its form is filled in each time, and nothing schedules it
    assert not {"parameters", "schedules"} & approve.keys()
    assert approve["concurrency_limit"]["limit"] == 1
    configs: list[type[Section]] = [GateConfig, GatedFinetuneConfig, DrillConfig, CompareConfig]
    for deployment, model in zip(by_name.values(), configs, strict=True):
        model.model_validate(deployment["parameters"]["config"])
        assert [s["active"] for s in deployment["schedules"]] == [False]
        assert deployment["concurrency_limit"]["limit"] == 1


def test_the_example_configuration_is_valid() -> None:
    text = (ROOT / "gate.example.yaml").read_text()
    config = GateConfig.model_validate(yaml.safe_load(text))
    assert config.detection.gradsentry.threshold.method == "kde_valley"
    tuning = text[text.index("# finetune:") :].replace("\n# ", "\n").removeprefix("# ")
    both = {**yaml.safe_load(text), **yaml.safe_load(tuning)}
    assert GatedFinetuneConfig.model_validate(both).finetune == FinetuneConfig()


@pytest.fixture
def environment(prefect_server: str, state: Path) -> dict[str, str]:
    """What another process needs to reach Prefect's server."""
    return {
        **os.environ,
        "PREFECT_API_URL": prefect_server,
        "GRADGATE_HOME": str(ROOT),
    }


def wait_until(done: Callable[[], bool], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while True:
        try:
            if done():
                return
        except httpx.HTTPError:
            pass
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.1)


def prefect(*arguments: str) -> None:
    """One of Prefect's commands, in this process, which has imported the flows already."""
    done = CycloptsCliRunner().invoke(list(arguments))
    assert done.exit_code == 0, done.output


def work_once(environment: dict[str, str]) -> str:
    """A worker that takes up what is to be run, and ends; what it logged."""
    done = subprocess.run(
        [*PREFECT, "worker", "start", "--pool", "gradgate", "--run-once"],
        env=environment, cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.mark.server
@pytest.mark.slow
def test_a_worker_runs_the_deployed_gate(
    environment: dict[str, str], state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRADGATE_HOME", str(ROOT))
    monkeypatch.chdir(ROOT)
    prefect("work-pool", "create", "gradgate", "--type", "process")
    prefect("--no-prompt", "deploy", "--all")
    api = environment["PREFECT_API_URL"]
    deployments = httpx.post(f"{api}/deployments/filter", json={}).json()
    assert sorted(d["name"] for d in deployments) == [
        *("approve", "compare", "drill", "gate", "gated-finetune")
    ]
    assert not any(schedule["active"] for d in deployments for schedule in d["schedules"])
    assert [d["global_concurrency_limit"]["limit"] for d in deployments] == [1] * 5
    rows = write_jsonl(tmp_path / "rows.jsonl", question_rows(50, n_poisoned=10))
    config = {
        "data": {"source": str(rows)},
        "model": {"path": str(MODEL), "device": "cpu", "dtype": "float32"},
        **ENTROPY_ALONE,
    }
    prefect("deployment", "run", "gate/gate", "--param", f"config={json.dumps(config)}")
    log = work_once(environment)
    (flow_run,) = httpx.post(f"{api}/flow_runs/filter", json=OF_DEPLOYMENTS).json()
    over = ("COMPLETED", "FAILED", "CRASHED")
    wait_until(lambda: state_of(api, flow_run["id"])["type"] in over)
    ended = state_of(api, flow_run["id"])
    assert (ended["name"], ended["type"]) == ("Rejected", "FAILED")
    assert "10 of 50 rows flagged" in ended["message"]
    folder = state / "runs" / flow_run["id"]
    assert load_verdict(folder / "verdict.json").decision == "fail"
    # a rejection is no crash
    assert "Traceback" not in log
    assert "| ERROR" not in log
    (warning,) = [line for line in log.splitlines() if "| WARNING" in line]
    assert "Rejected: 10 of 50 rows flagged" in warning


def state_of(api: str, flow_run_id: str) -> dict[str, Any]:
    found: dict[str, Any] = httpx.get(f"{api}/flow_runs/{flow_run_id}").json()["state"]
    return found


@pytest.fixture
def rejected(tmp_path: Path) -> Path:
    """A configuration whose rows are turned away."""
    rows = write_jsonl(tmp_path / "rows.jsonl", question_rows(50, n_poisoned=10))
    settings = {
        "data": {"source": str(rows)},
        "model": {"path": str(MODEL), "device": "cpu", "dtype": "float32"},
        **ENTROPY_ALONE,
    }
    path = tmp_path / "gate.yaml"
    path.write_text(yaml.safe_dump(settings))
    return path


@pytest.mark.server
@pytest.mark.slow
def test_the_exit_code_is_the_verdict(environment: dict[str, str], rejected: Path) -> None:
    done = run_flows(environment, "gate", str(rejected))
    assert done.returncode == 1, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1].startswith("Rejected: ")


@pytest.mark.server
@pytest.mark.slow
@pytest.mark.usefixtures("prefect_server", "state")
def test_the_exit_code_of_a_mere_report_is_0(
    rejected: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(app, ["gate", str(rejected), "--exit-zero"]) == 0
    assert capfd.readouterr().out.splitlines()[-1].startswith("Rejected: ")


def test_a_wrong_configuration_is_named_before_anything_starts(tmp_path: Path) -> None:
    (tmp_path / "gate.yaml").write_text("data: {source: x, colums: {}}\nmodel: {path: m}\n")
    environment = {**os.environ, "GRADGATE_STATE_DIR": str(tmp_path / "state")}
    done = run_flows(environment, "gate", str(tmp_path / "gate.yaml"))
    assert done.returncode == 2
    assert "data.colums" in done.stderr
    assert not (tmp_path / "state" / "runs").exists()


def test_a_state_folder_that_cannot_be_written_is_exit_code_2(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    environment = {**os.environ, "GRADGATE_STATE_DIR": str(tmp_path / "file" / "state")}
    done = run_flows(environment, "gate", str(tmp_path / "gate.yaml"))
    assert done.returncode == 2
    assert "GRADGATE_STATE_DIR" in done.stderr


def test_without_prefect_nothing_begins(
    tmp_path: Path, fresh_state: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    rows = write_jsonl(tmp_path / "rows.jsonl", question_rows(3))
    settings = {"data": {"source": str(rows)}, "model": {"path": str(MODEL)}}
    (tmp_path / "gate.yaml").write_text(yaml.safe_dump(settings))
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}):
        code = run(app, ["gate", str(tmp_path / "gate.yaml")])
    said = capfd.readouterr().err
    assert code == 2
    assert "Prefect's server does not answer" in said
    assert "Traceback" not in said
    assert not (fresh_state / "runs").exists()


def test_help_and_a_wrong_setting_wait_for_no_library() -> None:
    code = "import flows.cli, sys; print({'prefect', 'mlflow', 'torch'} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("set()\n", "")


def run_flows(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "flows", *arguments],
        env=environment, cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
