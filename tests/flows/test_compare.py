"""The comparison in Prefect and MLflow."""

import json
from pathlib import Path

import pytest
from compare_helpers import labelled_file, registered
from flow_helpers import artifacts_of, mlflow_runs
from mlflow import MlflowClient

from flows.compare import compare
from flows.outcome import exit_code_of
from gradgate.compare.config import CompareConfig
from helpers import MODEL


def config(source: Path, methods: list[str], labels: str | None = None) -> CompareConfig:
    return CompareConfig.model_validate(
        {
            "data": {"source": str(source)},
            "model": {"path": str(MODEL), "device": "cpu", "dtype": "float32"},
            "detection": {"methods": methods},
            "compare": {"labels": labels},
        }
    )


@pytest.mark.slow
@pytest.mark.usefixtures("prefect_server")
def test_a_comparison_is_one_run_with_a_table_and_metrics_by_method(
    state: Path, tmp_path: Path
) -> None:
    source = labelled_file(tmp_path / "rows.jsonl")
    with registered():
        methods = ["gradsentry", "abstains", "breaks"]
        ended = compare(config(source, methods), return_state=True)
    assert (ended.name, exit_code_of(ended)) == ("Completed", 0), ended.message
    assert ended.message == "3 methods on 130 rows (1 undecided, 1 failed)"
    folder = state / "comparisons" / str(ended.state_details.flow_run_id)
    found = json.loads((folder / "compare.json").read_text())
    assert [line["verdict"] for line in found["methods"]] == ["fail", "review", "error"]
    (run,) = mlflow_runs(state, "gradgate-compare")
    assert (run.info.status, run.data.tags["gradgate.kind"]) == ("FINISHED", "compare")
    assert run.data.tags["gradgate.verdict_gradsentry"] == "fail"
    assert run.data.metrics["gradsentry/recall"] == 1
    assert run.data.metrics["gradsentry/auroc"] == found["methods"][0]["auroc"]["value"]
    assert run.data.metrics["abstains/auroc"] > 0.9
    assert "abstains/recall" not in run.data.metrics
    assert run.data.metrics["gradsentry/peak_mib"] >= 0
    client = MlflowClient(f"sqlite:///{state}/mlflow.db")
    logged = {artifact.path for artifact in client.list_artifacts(run.info.run_id)}
    assert logged == {
        *("compare.csv", "compare.json", "compare.png", "compare_table.json", "config.yaml")
    }
    path = client.download_artifacts(run.info.run_id, "compare_table.json", str(tmp_path))
    table = json.loads(Path(path).read_text())
    assert [row[table["columns"].index("state")] for row in table["data"]] == [
        *("decided", "undecided", "failed")
    ]
    rows = artifacts_of(ended)["compare"].data
    assert [row["method"] for row in json.loads(rows)] == methods


@pytest.mark.usefixtures("prefect_server")
def test_a_comparison_that_breaks_ends_as_failed_also_in_mlflow(
    state: Path, tmp_path: Path
) -> None:
    source = labelled_file(tmp_path / "rows.jsonl", n=12)
    ended = compare(config(source, ["gradsentry"], "bad"), return_state=True)
    assert exit_code_of(ended) == 2
    assert "no column 'bad'" in str(ended.message)
    (run,) = mlflow_runs(state, "gradgate-compare")
    assert run.info.status == "FAILED"
