"""What Prefect's UI shows of a gate run: verdict, rows to look at, links to MLflow's copies."""

from typing import Any

import pyarrow.parquet as pq
from prefect import task
from prefect.artifacts import create_link_artifact, create_markdown_artifact, create_table_artifact

from gradgate.common.escaping import escape
from gradgate.gate.flags import top_flagged
from gradgate.gate.verdict import load_verdict
from gradgate.report.in_doubt import MAX_PILES, Pile, in_doubt, n_rows
from tasks.links import artifact_link, run_link, where_to_read
from tasks.retries import OPTIONS
from tasks.run import GateRun

TOP = 20
SHOWN = 80  # characters of a cell, which Prefect does not wrap


@task(**OPTIONS)
def report(run: GateRun) -> None:
    """Create the artifacts of a published run; what they link to opens on another machine."""
    page = run.folder.report if run.folder.report.exists() else run.folder.summary
    headline, text = run.folder.summary.read_text(encoding="utf-8").split("\n", 1)
    where = where_to_read(run.tracked, page, run.folder.data_docs)
    create_markdown_artifact(
        f"{headline}\n\n{where}\n{text}",
        key="verdict",
        description="What was decided and what is asked of you: begin here",
    )
    links = {
        "report": (artifact_link(run.tracked, page.name), "Report", "The evidence, in MLflow"),
        "mlflow-run": (run_link(run.tracked), "MLflow run", "All files and figures of the run"),
    }
    if run.folder.data_docs.exists():
        index = f"{run.folder.data_docs.name}/index.html"
        docs = artifact_link(run.tracked, index)
        links["data-docs"] = (docs, "Data Docs", "What Great Expectations checked, in MLflow")
    for key, (link, name, description) in links.items():
        if link is not None:
            create_link_artifact(link, link_text=name, key=key, description=description)
    _create_tables(run)


def _create_tables(run: GateRun) -> None:
    """The rows to look at, a bounded number of them, and how many there are."""
    if run.folder.flagged.exists() and (rows := _top_flagged(run)):
        n = pq.read_metadata(run.folder.flagged).num_rows
        about = f"Flagged rows: {len(rows)} of {n:,}; all: {run.folder.flagged.name}"
        create_table_artifact(rows, key="flagged", description=about)
    if found := in_doubt(run.folder, load_verdict(run.folder.verdict)):
        rows = [row for pile in found[:MAX_PILES] for row in _in_doubt(pile)]
        about = (
            f"Rows in doubt, by group: {len(rows)} of {n_rows(found):,}; all: "
            f"{run.folder.quarantined.name}"
        )
        create_table_artifact(rows, key="quarantined", description=about)


def _top_flagged(run: GateRun) -> list[dict[str, Any]]:
    return [
        {
            "row": row["row"],
            "spectral entropy": round(row["spectral_entropy"], 4),
            "target tokens": row["n_target_tokens"],
            "question": ", ".join(row["questions"]),
            "group": row["group"] and f"{row['questions'][0]}:{row['group']}",
            "prompt": _cell(row["prompt"]),
            "target": _cell(row["target"]),
        }
        for row in top_flagged(run.folder, TOP)
    ]


def _in_doubt(pile: Pile) -> list[dict[str, Any]]:
    group = "" if pile.group is None else f"{pile.question}:{pile.group}"
    return [
        {
            "question": pile.question or "",
            "group": group,
            "row": row.row,
            "why": pile.why,
            "new": "new" if row.is_new else "",
            "prompt": _cell(row.prompt),
            "target": _cell(row.target),
            "reasons": _cell("; ".join(row.reasons)),
        }
        for row in pile.shown
    ]


def _cell(text: str) -> str:
    """The end of a long prompt or target, where questions and appended targets are."""
    return escape(text if len(text) <= SHOWN else "…" + text[-SHOWN:])
