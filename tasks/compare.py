"""The steps of a comparison: the shared table of scores, each method, and what is recorded."""

import logging
from dataclasses import dataclass
from pathlib import Path

from prefect import task
from prefect.artifacts import create_table_artifact

import gradgate.compare.steps
from gradgate.common.escaping import escape
from gradgate.common.run_folder import RunFolder
from gradgate.common.state import state_dir
from gradgate.compare.config import CompareConfig
from gradgate.compare.result import Comparison, metrics, table
from gradgate.compare.steps import Fetched, Judged, SharedScores, draw_up
from gradgate.compare.writing import FILES, write
from gradgate.data.prepare import Prepared
from tasks import tracking
from tasks.dead_runs import close_dead_runs
from tasks.retries import OPTIONS
from tasks.run import make_run_folder, run_folder
from tasks.steps import progress_artifact
from tasks.tracking import TrackedRun

logger = logging.getLogger("gradgate.tasks")


@dataclass(frozen=True)
class ComparisonRun:
    """Where a comparison keeps its tables and figures; compare.json is written last.

    Attributes:
        folder: Below `comparisons/` in the state folder.
        tracked: The run in MLflow.
    """

    folder: RunFolder
    tracked: TrackedRun


def comparison_folder(flow_run_id: str, attempt: int = 1) -> Path:
    """Folder of an attempt at the flow run."""
    return state_dir() / "comparisons" / run_folder(flow_run_id, attempt).name


@task(**OPTIONS)
def open_comparison(
    config: CompareConfig, flow_run_id: str, attempt: int, name: str
) -> ComparisonRun:
    """Open the run in MLflow and make its folder."""
    close_dead_runs(config)
    tracked = tracking.start_run(config, "compare", name)
    folder = RunFolder(comparison_folder(flow_run_id, attempt))
    make_run_folder(folder, tracked, config, "the folder")
    return ComparisonRun(folder, tracked)


@task(**OPTIONS)
def fetch_labelled(run: ComparisonRun, config: CompareConfig) -> Fetched:
    """Write samples.parquet and rejected.parquet, without the labels."""
    fetched = gradgate.compare.steps.fetch(config, run.folder)
    columns = ", ".join(fetched.labels.columns) or "none"
    logger.info("fetched %d rows, labels: %s", fetched.prepared.n_rows, columns)
    return fetched


@task(**OPTIONS)
def score_once(run: ComparisonRun, prepared: Prepared, config: CompareConfig) -> SharedScores:
    """Write scores.parquet, which all methods read."""
    return gradgate.compare.steps.score(prepared, config, run.folder, progress_artifact())


@task(task_run_name="judge-{method}", **OPTIONS)
def judge(
    run: ComparisonRun, method: str, fetched: Fetched, scores: SharedScores, config: CompareConfig
) -> Judged:
    """Let one method judge the rows; an error of it is its result."""
    judged = gradgate.compare.steps.judge(method, fetched, scores.scored, config, run.folder)
    found = judged.result
    logger.info("%s: %s: %s", method, found.verdict, "; ".join(found.reasons))
    return judged


@task(**OPTIONS)
def publish_comparison(
    run: ComparisonRun,
    config: CompareConfig,
    fetched: Fetched,
    scores: SharedScores,
    judged: list[Judged],
) -> Comparison:
    """Write and log table, record and plot; the rows stay in the folder."""
    comparison = draw_up(fetched, scores, judged, config, run.folder)
    write(comparison, run.folder.path)
    for path in (*(run.folder.path / name for name in FILES), run.folder.config):
        tracking.log_files(run.tracked, path)
    columns = table(comparison)
    tracking.log_table(run.tracked, columns, "compare_table.json")
    tracking.log_metrics(run.tracked, metrics(comparison))
    verdicts = {f"gradgate.verdict_{m.method}": m.verdict for m in comparison.methods}
    tracking.set_tags(run.tracked, {"gradgate.compare": comparison.headline, **verdicts})
    tracking.end_run(run.tracked, ok=True)
    _show(comparison, columns)
    return comparison


def _show(comparison: Comparison, columns: dict[str, list[object]]) -> None:
    """The table in Prefect's UI."""
    shown = [name for name in columns if not name.endswith(("_low", "_high"))]
    rows = [
        {name: _cell(columns[name][i]) for name in shown} for i in range(len(comparison.methods))
    ]
    create_table_artifact(rows, key="compare", description=escape(comparison.headline))


def _cell(value: object) -> object:
    return (
        f"{value:.4g}" if isinstance(value, float) else escape("" if value is None else str(value))
    )
