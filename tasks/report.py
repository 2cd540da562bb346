"""What Prefect's UI shows of a gate run: verdict, top flagged rows, links."""

from typing import Any

from prefect import task
from prefect.artifacts import create_link_artifact, create_markdown_artifact, create_table_artifact

from gradgate.common.escaping import escape
from gradgate.gate.flags import top_flagged
from gradgate.gate.quarantine import top_quarantined
from tasks.retries import OPTIONS
from tasks.run import GateRun
from tasks.tracking import run_link, ui_command

TOP = 20
SHOWN = 200  # characters of a cell


@task(**OPTIONS)
def report(run: GateRun) -> None:
    """Create the artifacts of a published run."""
    text = run.folder.summary.read_text(encoding="utf-8")
    where = (
        f"\nEvidence: `{run.folder.path}`\n\nMLflow run: `{run.tracked.run_id}`; open it by "
        f"`{ui_command(run.tracked.uri)}`\n"
    )
    create_markdown_artifact(text + where, key="verdict")
    if run.folder.flagged.exists():
        create_table_artifact(_top_flagged(run), key="flagged", description="Flagged rows")
    if run.folder.quarantined.exists():
        rows = _quarantined(run)
        create_table_artifact(rows, key="quarantined", description="Quarantined rows, the first")
    if run.folder.data_docs.exists():
        index = run.folder.data_docs / "index.html"
        create_link_artifact(index.as_uri(), link_text="Data Docs", key="data-docs")
    link = run_link(run.tracked)
    if link is not None:
        create_link_artifact(link, link_text="MLflow run", key="mlflow-run")


def _top_flagged(run: GateRun) -> list[dict[str, Any]]:
    return [
        {
            "row": row["row"],
            "spectral entropy": round(row["spectral_entropy"], 4),
            "target tokens": row["n_target_tokens"],
            "question": ", ".join(row["questions"]),
            "group": row["group"],
            "prompt": _cell(row["prompt"]),
            "target": _cell(row["target"]),
        }
        for row in top_flagged(run.folder, TOP)
    ]


def _quarantined(run: GateRun) -> list[dict[str, Any]]:
    return [
        {
            "row": row["row"],
            "why": row["why"],
            "question": ", ".join(row["questions"]),
            "reasons": _cell("; ".join(row["reasons"])),
            "prompt": _cell(row["prompt"]),
            "target": _cell(row["target"]),
        }
        for row in top_quarantined(run.folder, TOP)
    ]


def _cell(text: str) -> str:
    """The end of a long prompt or target, where questions and appended targets are."""
    return escape(text if len(text) <= SHOWN else "…" + text[-SHOWN:])
