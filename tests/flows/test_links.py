"""Where reviewers find a run in MLflow, and that Prefect's artifacts lead there."""

import shlex
import sys
from pathlib import Path

import mlflow
import pytest

from gradgate.config import TrackingConfig
from tasks.links import artifact_link, run_link, ui_command, where_to_read
from tasks.tracking import TrackedRun

SERVED = TrackedRun("https://me:secret@host:5000/", "1", "r")
STORED = TrackedRun("sqlite:////a b/mlflow.db", "1", "r")


def test_a_run_on_a_server_has_addresses_without_credentials() -> None:
    assert run_link(SERVED) == "https://host:5000/#/experiments/1/runs/r"
    assert artifact_link(SERVED, "data docs/index.html") == (
        "https://host:5000/#/experiments/1/runs/r/artifacts/data%20docs/index.html"
    )
    assert ui_command(SERVED.uri) == "python -m webbrowser https://host:5000/"


def test_people_may_open_it_at_another_address_than_the_worker() -> None:
    inside = TrackedRun("http://mlflow:5000", "1", "r", "https://mlflow.example.com/ui/")
    assert run_link(inside) == "https://mlflow.example.com/ui/#/experiments/1/runs/r"
    by_database = TrackedRun("postgresql://db/mlflow", "1", "r", "https://mlflow.example.com")
    assert artifact_link(by_database, "report.html") == (
        "https://mlflow.example.com/#/experiments/1/runs/r/artifacts/report.html"
    )


@pytest.mark.parametrize(
    "url",
    ["mlflow.example.com", "ftp://host", "https://me:secret@host", "javascript:alert(1)",
     "https://host/?token=secret", "https://host/\n", "https://host/a)b](c", ""],
)  # fmt: skip
def test_an_address_that_no_page_has_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="ui_url"):
        TrackingConfig(ui_url=url)


def test_a_store_without_a_server_has_no_address_but_a_command_that_shows_it() -> None:
    assert (run_link(STORED), artifact_link(STORED, "report.html")) == (None, None)
    command = shlex.split(ui_command(STORED.uri))
    assert command == [sys.executable, "-m", "mlflow", "ui", "--backend-store-uri", STORED.uri]


def test_what_a_page_says_of_where_to_read(tmp_path: Path) -> None:
    report, docs = tmp_path / "report.html", tmp_path / "data_docs"
    address = "https://host:5000/#/experiments/1/runs/r"
    assert where_to_read(SERVED, report, docs) == (
        f"In MLflow: [Open the report]({address}/artifacts/report.html) · "
        f"[all files and figures]({address})"
    )
    docs.mkdir()
    assert "[Data Docs](https://host:5000/" in where_to_read(SERVED, report, docs)
    stored = where_to_read(STORED, report, docs)
    assert "report.html on " in stored
    assert ui_command(STORED.uri) in stored.replace("\\\n    ", "")
    assert "(http://127.0.0.1:5000/#/experiments/1/runs/r/artifacts/report.html)" in stored


def test_mlflow_has_a_page_at_these_addresses() -> None:
    """Its pages find the tab, and the file, in what is behind the run."""
    assert mlflow.__file__ is not None
    built = Path(mlflow.__file__).parent / "server" / "js" / "build" / "static" / "js"
    route = '"/experiments/:experimentId/runs/:runUuid/*"'
    assert any(route in path.read_text(encoding="utf-8") for path in built.glob("main*.js"))
