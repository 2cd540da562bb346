"""Compare a run with the last one of its series, and become the last one."""

import logging
from dataclasses import replace

from prefect import task

import gradgate.gate.series
from gradgate.common.state import state_dir
from gradgate.gate.changes import changes_since_last, tau_of
from gradgate.gate.config import GateConfig
from gradgate.gate.series import series_of
from gradgate.gate.verdict import Verdict
from gradgate.report.facts import describe_changes
from tasks.retries import OPTIONS
from tasks.run import GateRun

logger = logging.getLogger("gradgate.tasks")


@task(**OPTIONS)
def compare(run: GateRun, config: GateConfig, verdict: Verdict) -> Verdict:
    """The verdict, with what changed since the last run; changes.parquet says which samples."""
    part, tau = run.folder.part, tau_of(verdict)
    if not part.flags.exists():  # refused before it was scored
        return verdict
    changes = changes_since_last(series_of(config), state_dir(), part.path, tau)
    level = logging.INFO if changes.not_compared is None else logging.WARNING
    logger.log(level, "changes: %s", describe_changes(changes, tau))
    return replace(verdict, changes=changes)


@task(**OPTIONS)
def remember(run: GateRun, config: GateConfig, verdict: Verdict) -> None:
    """Let the next run be compared with this one; the verdict stands without that."""
    folder = run.folder.path
    try:
        gradgate.gate.series.remember(series_of(config), state_dir(), folder, verdict.decision)
    except OSError:
        logger.exception("the next run will not be compared with %s", folder.name)
