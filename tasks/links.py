"""Where people find a run in MLflow: addresses that open on another machine, or how to open it."""

import re
import shlex
import socket
import sys
from pathlib import Path
from urllib.parse import quote, urlsplit

from gradgate.common.escaping import escape
from gradgate.common.redaction import redacted
from tasks.tracking import TrackedRun

LOCAL_UI = "http://127.0.0.1:5000"  # where `mlflow ui` listens


def run_link(run: TrackedRun) -> str | None:
    """Address of the run in MLflow's pages; None where there is no server, see `ui_command`."""
    base = _ui(run)
    return None if base is None else base + run_fragment(run)


def artifact_link(run: TrackedRun, path: str) -> str | None:
    """Address of the page that shows a file of the run; None where there is no server.

    MLflow sends the file itself for download only, so that nothing in it runs in its pages.

    Args:
        run: That has it.
        path: Among its artifacts.
    """
    base = _ui(run)
    return None if base is None else base + artifact_fragment(run, path)


def run_fragment(run: TrackedRun) -> str:
    """The part of a run's address behind that of the server."""
    return f"/#/experiments/{run.experiment_id}/runs/{run.run_id}"


def artifact_fragment(run: TrackedRun, path: str) -> str:
    """The same of one of its files."""
    return f"{run_fragment(run)}/artifacts/{quote(path)}"


def ui_command(uri: str) -> str:
    """The shell command that shows a store's runs; for a server, the one that opens its UI."""
    if _is_server(uri):
        return f"python -m webbrowser {shlex.quote(_address(uri))}"
    mlflow = f"{shlex.quote(sys.executable)} -m mlflow"  # found without an activated environment
    return f"{mlflow} ui --backend-store-uri {shlex.quote(redacted(uri))}"


def where_to_read(run: TrackedRun, report: Path, data_docs: Path) -> str:
    """A part of a Markdown page: links to MLflow's copies, or where the files are and how to see.

    Args:
        run: In MLflow.
        report: The page for people, on this machine.
        data_docs: The folder of Great Expectations' pages; it need not be there.
    """
    link = artifact_link(run, report.name)
    if link is None:
        return _without_server(run, report)
    links = [f"[Open the report]({link})", f"[all files and figures]({run_link(run)})"]
    if data_docs.exists():
        docs = artifact_link(run, f"{data_docs.name}/index.html")
        links.insert(1, f"[Data Docs]({docs})")
    return f"In MLflow: {' · '.join(links)}"


def _without_server(run: TrackedRun, report: Path) -> str:
    page = LOCAL_UI + artifact_fragment(run, report.name)
    command = ui_command(run.uri).replace(" --", " \\\n    --", 1)  # or Prefect would cut it
    return (
        f"The report is the file {escape(str(report))} on {escape(socket.gethostname())}. No "
        f"MLflow server is configured; to read it in MLflow, type there\n\n"
        f"```sh\n{command}\n```\n\nand open [its page]({page})."
    )


def _ui(run: TrackedRun) -> str | None:
    if run.ui_url is not None:
        return run.ui_url.rstrip("/")
    return _address(run.uri).rstrip("/") if _is_server(run.uri) else None


def _is_server(uri: str) -> bool:
    return urlsplit(uri).scheme in ("http", "https")


def _address(uri: str) -> str:
    """The URI without user and password, to be opened in a browser."""
    return re.sub(r"://[^/]*@", "://", uri)
