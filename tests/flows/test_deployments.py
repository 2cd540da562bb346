"""prefect.yaml, and `python -m flows` on a real Prefect server; tests/servers has a real worker."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from prefect.cli.deploy._models import PrefectYamlModel
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows.cli import app
from gradgate.cli.running import run
from gradgate.compare.config import CompareConfig
from gradgate.config import FinetuneConfig, Section
from gradgate.drill.config import DrillConfig
from gradgate.gate.config import GateConfig
from gradgate.train.config import GatedFinetuneConfig
from helpers import MODEL, question_rows, write_jsonl

ROOT = Path(__file__).parents[2]
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
@pytest.mark.usefixtures("prefect_server", "state")
def test_the_exit_code_is_the_verdict(rejected: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(app, ["gate", str(rejected)]) == 1
    said = capfd.readouterr()
    assert said.out.splitlines()[-1].startswith("Rejected: ")
    assert (said.out + said.err).count(" rows flagged (") == 1


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
