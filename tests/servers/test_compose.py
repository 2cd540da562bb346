"""docker-compose.yaml, Dockerfile, .env.example, constraints.txt and docs/servers.md agree."""

import json
import re
import tomllib
from typing import Any

import pytest
import yaml
from compose_helpers import COMPOSE, ROOT, example, resolved, variables
from compose_spec import PyCompose
from markdown_helpers import Document

from gradgate.common.environment import _DEFAULTS as QUIET

VALUES = {name: value or "made-up" for name, value in example().items()}
SERVICES: dict[str, Any] = resolved(VALUES)["services"]
OURS = sorted(name for name, service in SERVICES.items() if "build" in service)
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
CONSTRAINTS = (ROOT / "constraints.txt").read_text(encoding="utf-8")
PINNED = dict(re.findall(r"^([\w.-]+)==(\S+)$", CONSTRAINTS, re.MULTILINE))
TELEMETRY = set(QUIET) - {"OMP_WAIT_POLICY"}


def test_it_is_a_compose_file() -> None:
    found = PyCompose.from_json(json.dumps(resolved(VALUES)))
    found.validate()
    assert sorted(found.service_names()) == sorted(SERVICES)


def test_the_one_for_a_gpu_changes_what_is_there() -> None:
    other = yaml.safe_load((ROOT / "docker-compose.cuda.yaml").read_text(encoding="utf-8"))
    PyCompose.from_json(json.dumps(other))
    assert set(other["services"]) <= set(SERVICES)
    for argument in other["services"]["worker"]["build"]["args"]:
        assert f"ARG {argument}=" in DOCKERFILE


def test_every_variable_is_in_the_example_and_the_reverse() -> None:
    used = variables(COMPOSE.read_text(encoding="utf-8"))
    assert used == set(example())
    assert used <= set(Document("docs/servers.md").first_column("Settings"))


def test_no_password_has_a_default() -> None:
    secret = {name for name in example() if name.endswith("PASSWORD")}
    assert secret == {"POSTGRES_PASSWORD", "PREFECT_PASSWORD", "S3_PASSWORD"}
    assert {name for name, value in example().items() if not value} == secret
    assert not re.search(r"(?i)(password|secret_access_key|auth_string)\S*[:=] *\w+$", DOCKERFILE)


def test_every_service_is_explained() -> None:
    assert Document("docs/servers.md").first_column("What runs") == list(SERVICES)


def test_images_are_pinned() -> None:
    foreign = {name: service["image"] for name, service in SERVICES.items() if name not in OURS}
    for image in foreign.values():
        assert re.fullmatch(r"[\w/.-]+:\d+\.\d+[\w.-]*", image), image
    (base,) = re.findall(r"^FROM (\S+:\S+) AS base$", DOCKERFILE, re.MULTILINE)
    assert re.fullmatch(r"python:3\.11\.\d+-slim-bookworm", base)
    assert "Python 3.11" in CONSTRAINTS


def test_versions_are_those_of_the_constraints() -> None:
    installs = re.findall(r"pip install ([^\n\\]+)", DOCKERFILE)
    assert installs
    assert all(line.startswith("--constraint constraints.txt ") for line in installs)
    content = yaml.safe_load((ROOT / "prefect.yaml").read_text(encoding="utf-8"))
    assert content["prefect-version"] == PINNED["prefect"]
    for name in ("prefect", "fastapi", "mlflow", "boto3", "psycopg", "SQLAlchemy", "torch"):
        assert name in PINNED


def test_the_servers_have_the_libraries_that_the_pipeline_asks_for() -> None:
    """Without gradgate nobody else would hold fastapi and SQLAlchemy below what breaks Prefect."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    wanted = project["project"]["optional-dependencies"]["pipeline"]
    capped = {"fastapi": "0.151", "sqlalchemy": "2.1"}
    for name, cap in capped.items():
        (found,) = [line for line in wanted if line.startswith(name)]
        assert found.endswith(f"<{cap}")
        version = PINNED["SQLAlchemy" if name == "sqlalchemy" else name]
        assert tuple(map(int, version.split(".")[:2])) < tuple(map(int, cap.split(".")))


@pytest.mark.parametrize("name", OURS)
def test_our_containers_may_do_little_and_report_to_nobody(name: str) -> None:
    service = SERVICES[name]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "user" not in service
    assert set(service["environment"]) >= TELEMETRY
    assert all(variable in DOCKERFILE for variable in TELEMETRY)


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_every_service_is_watched_and_keeps_to_itself(name: str) -> None:
    service = SERVICES[name]
    assert ("healthcheck" in service) == (name != "deploy")
    assert service["restart"] == ("no" if name == "deploy" else "unless-stopped")
    for port in service.get("ports", []):
        assert port.startswith("127.0.0.1:")


def test_what_is_kept_is_on_volumes() -> None:
    mounts = [mount for service in SERVICES.values() for mount in service.get("volumes", [])]
    named = {mount.partition(":")[0] for mount in mounts if not mount.startswith(".")}
    assert named == set(resolved(VALUES)["volumes"])


def test_nobody_is_root_in_our_images() -> None:
    stages = re.split(r"^FROM ", DOCKERFILE, flags=re.MULTILINE)[2:]  # behind `base`
    assert [re.findall(r" AS (\w+)", stage)[0] for stage in stages] == ["servers", "worker"]
    for stage in stages:
        after = stage[stage.rindex("USER 1000") :]
        assert "RUN" not in after


def test_images_get_what_the_wheel_is_built_of_and_nothing_else() -> None:
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
    let_in = {rule.removeprefix("!") for rule in rules if rule.startswith("!")}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    needed = {path.partition("/")[0] for path in wheel["only-include"]} | set(
        wheel["force-include"]
    )
    licence, readme = project["project"]["license-files"], project["project"]["readme"]
    assert let_in == {*needed, *licence, readme, "pyproject.toml", "constraints.txt"}
