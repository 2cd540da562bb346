"""The nightly gate on real servers: the wheel on a worker, PostgreSQL, Prefect, MLflow, a store."""

import json
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
import s3fs
import yaml
from mlflow import MlflowClient
from mlflow.entities import Run
from site_helpers import Site

import gradgate
from gradgate.cli.main import app
from gradgate.cli.running import run
from gradgate.gate.verdict import load_verdict
from helpers import MODEL, diverse_rows, question_rows

pytestmark = [pytest.mark.server, pytest.mark.slow]
PATIENCE = 300  # seconds
OVER = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}


def put_rows(site: Site, name: str, rows: list[dict[str, object]]) -> str:
    """Write rows into the store; where they are."""
    store = s3fs.S3FileSystem(**site.store_options(), use_listings_cache=False)
    store.makedirs("rows", exist_ok=True)
    store.pipe(f"rows/{name}.jsonl", "".join(json.dumps(row) + "\n" for row in rows).encode())
    return f"s3://rows/{name}.jsonl"


def begin(site: Site, source: str, **sections: object) -> str:
    """Ask for a run of the deployed gate; its id."""
    config = {
        "data": {"source": source},
        "model": {"path": str(MODEL), "device": "cpu", "dtype": "float32"},
        "detection": {
            "methods": ["gradsentry"],
            "gradsentry": {"threshold": {"method": "fixed", "value": 0.7}},
            "power": {"attacks": []},
        },
        "attestation": {"required": True},
        "tracking": {"uri": f"http://127.0.0.1:{site.mlflow}"},
        **sections,
    }
    with site.api as api:
        found = api.get("/deployments/name/gate/gate").raise_for_status().json()
        asked = {"parameters": {"config": config}, "state": {"type": "SCHEDULED"}}
        made = api.post(f"/deployments/{found['id']}/create_flow_run", json=asked)
        return str(made.raise_for_status().json()["id"])


@pytest.fixture(scope="module")
def runs(site: Site) -> dict[str, str]:
    """Ids of two runs, which the worker takes up one after the other."""
    lenient = {"policy": {"max_poison_fraction": 0.9, "review_above": 0.8}}
    return {
        "pass": begin(site, put_rows(site, "clean", diverse_rows(60)), **lenient),
        "fail": begin(site, put_rows(site, "poisoned", question_rows(50, n_poisoned=10))),
    }


def ended(site: Site, flow_run: str) -> dict[str, Any]:
    """The state in which a run has ended."""
    deadline = time.monotonic() + PATIENCE
    while True:
        with site.api as api:
            state = api.get(f"/flow_runs/{flow_run}").raise_for_status().json()["state"]
        if state["type"] in OVER:
            return dict(state)
        assert time.monotonic() < deadline, site.log("worker").read_text()
        time.sleep(0.5)


def tracked(site: Site, flow_run: str) -> Run:
    """The run in MLflow that a flow run has written to."""
    where = json.loads((site.state / "runs" / flow_run / "run.json").read_text())
    return MlflowClient(f"http://127.0.0.1:{site.mlflow}").get_run(where["run_id"])


def evidence(site: Site, found: Run, name: str) -> bytes:
    """A file of a run, as MLflow serves it."""
    path = found.info.artifact_uri.removeprefix("mlflow-artifacts:/")
    base = f"http://127.0.0.1:{site.mlflow}/api/2.0/mlflow-artifacts/artifacts"
    return httpx.get(f"{base}/{path}/{name}", timeout=60).raise_for_status().content


def test_a_night_that_passes(site: Site, runs: dict[str, str], tmp_path: Path) -> None:
    state = ended(site, runs["pass"])
    assert (state["name"], state["type"]) == ("Completed", "COMPLETED"), state["message"]
    found = tracked(site, runs["pass"])
    assert found.info.status == "FINISHED"
    assert found.data.tags["gradgate.verdict"] == "pass"
    attestation = tmp_path / "attestation.json"
    attestation.write_bytes(evidence(site, found, "attestation.json"))
    accepted = site.state / "runs" / runs["pass"] / "rows" / "accepted.jsonl"
    key = site.key.with_suffix(".pub")
    verify = ["verify", str(attestation), "--model", str(MODEL), "--key", str(key)]
    assert run(app, [*verify, "--data", str(accepted)]) == 0
    statement = gradgate.verify(attestation, accepted, key=key).predicate
    assert statement.run.prefect == runs["pass"]
    assert statement.run.mlflow == found.info.run_id
    assert statement.dataset is not None
    assert statement.dataset.source == "s3://rows/clean.jsonl"
    fewer = tmp_path / "fewer.jsonl"
    fewer.write_text("".join(accepted.read_text().splitlines(keepends=True)[1:]))
    assert run(app, [*verify, "--data", str(fewer)]) == 1


def test_a_night_that_is_rejected(site: Site, runs: dict[str, str], tmp_path: Path) -> None:
    state = ended(site, runs["fail"])
    assert (state["name"], state["type"]) == ("Rejected", "FAILED")
    assert "10 of 50 rows flagged" in state["message"]
    found = tracked(site, runs["fail"])
    assert found.data.tags["gradgate.verdict"] == "fail"
    (tmp_path / "verdict.json").write_bytes(evidence(site, found, "verdict.json"))
    assert load_verdict(tmp_path / "verdict.json").decision == "fail"
    assert b"<title>" in evidence(site, found, "report.html")
    log = site.log("worker").read_text()
    assert "fetched 50 rows" in log  # what the core says reaches the worker's log
    # a rejection is no crash
    assert "Traceback" not in log
    assert "| ERROR" not in log
    (warning,) = [line for line in log.splitlines() if "| WARNING" in line]
    assert "Rejected: 10 of 50 rows flagged" in warning


def test_where_it_is_kept(site: Site, runs: dict[str, str]) -> None:
    """PostgreSQL and the store have it, and no file of a server does."""
    ended(site, runs["pass"])
    found = tracked(site, runs["pass"])
    with site.postgres.connect("prefect") as database:
        query = "SELECT state_name FROM flow_run WHERE id = %s"
        assert database.execute(query, [runs["pass"]]).fetchall() == [("Completed",)]
    with site.postgres.connect("mlflow") as database:
        query = "SELECT value FROM tags WHERE run_uuid = %s AND key = 'gradgate.verdict'"
        assert database.execute(query, [found.info.run_id]).fetchall() == [("pass",)]
    store = s3fs.S3FileSystem(**site.store_options(), use_listings_cache=False)
    path = found.info.artifact_uri.removeprefix("mlflow-artifacts:/")
    assert store.exists(f"evidence/{path}/attestation.json")
    assert not store.exists(f"evidence/{path}/samples.parquet")
    assert not list(site.folder.rglob("prefect.db"))
    assert not list(site.folder.rglob("mlflow.db"))


def test_everything_is_deployed_as_prefect_yaml_says(site: Site) -> None:
    content = yaml.safe_load((site.home / "prefect.yaml").read_text())
    with site.api as api:
        deployed = api.post("/deployments/filter", json={}).raise_for_status().json()
        (pool,) = api.post("/work_pools/filter", json={}).raise_for_status().json()
    wanted = {one["name"]: one for one in content["deployments"]}
    assert {one["name"] for one in deployed} == set(wanted)
    for one in deployed:
        limit = wanted[one["name"]]["concurrency_limit"]["limit"]
        assert one["global_concurrency_limit"]["limit"] == limit
        assert not any(schedule["active"] for schedule in one["schedules"])
    assert (pool["name"], pool["type"], pool["concurrency_limit"]) == ("gradgate", "process", 1)


def test_the_schedule_makes_a_run_for_the_night(site: Site) -> None:
    """Prefect's scheduler breaks with libraries that its API works with, and says so in a log."""
    with site.api as api:
        found = api.get("/deployments/name/gate/gate").raise_for_status().json()
        (schedule,) = found["schedules"]
        assert not schedule["active"]
        path = f"/deployments/{found['id']}/schedules/{schedule['id']}"
        api.patch(path, json={"active": True}).raise_for_status()
        asked = {"deployments": {"id": {"any_": [found["id"]]}}}
        deadline, planned = time.monotonic() + PATIENCE, list[Any]()
        while not planned:
            assert time.monotonic() < deadline, site.log("prefect").read_text()
            time.sleep(0.5)
            every = api.post("/flow_runs/filter", json=asked).raise_for_status().json()
            planned = [one for one in every if one["auto_scheduled"]]
        api.patch(path, json={"active": False}).raise_for_status()
    due = datetime.fromisoformat(planned[0]["expected_start_time"])
    assert (due.hour, due.minute) == (2, 0)


def test_nobody_gets_in_without_the_password(site: Site) -> None:
    base = f"http://127.0.0.1:{site.prefect}/api"
    assert httpx.post(f"{base}/flow_runs/filter", json={}).status_code == 401
    other = httpx.post(f"{base}/flow_runs/filter", json={}, auth=("gradgate", "gradgate"))
    assert other.status_code == 401


def test_mlflow_answers_to_its_own_names_alone(site: Site) -> None:
    url = f"http://127.0.0.1:{site.mlflow}/api/2.0/mlflow/experiments/get-by-name"
    named = f"{url}?experiment_name=gradgate"
    assert httpx.get(named, timeout=60).is_success
    assert httpx.get(named, headers={"Host": "evil.example"}, timeout=60).status_code == 403
