"""Compare a run with the last one of its series, and become the last one."""

import logging
from dataclasses import replace

from prefect import task

import gradgate.series
from gradgate.changes import changes_since_last
from gradgate.config import GateConfig
from gradgate.series import series_of
from gradgate.state import state_dir
from gradgate.summary import describe_changes
from gradgate.verdict import Verdict
from tasks.retries import OPTIONS
from tasks.run import GateRun

logger = logging.getLogger("gradgate.tasks")


@task(**OPTIONS)
def compare(run: GateRun, config: GateConfig, verdict: Verdict) -> Verdict:
    """The verdict, with what changed since the last run; changes.parquet says which samples."""
    changes = changes_since_last(series_of(config), state_dir(), run.part, verdict.tau)
    level = logging.INFO if changes.not_compared is None else logging.WARNING
    logger.log(level, "changes: %s", describe_changes(changes, verdict.tau))
    return replace(verdict, changes=changes)


@task(**OPTIONS)
def remember(run: GateRun, config: GateConfig, verdict: Verdict) -> None:
    """Let the next run be compared with this one; the verdict stands without that."""
    try:
        gradgate.series.remember(series_of(config), state_dir(), run.folder, verdict.decision)
    except OSError:
        logger.exception("the next run will not be compared with %s", run.folder.name)
