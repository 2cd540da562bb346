"""Runs whose process was killed: closed in MLflow by the next start, their parts removed."""

import json
import logging
import shutil
import time
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.exceptions import MlflowException

from gradgate.common.files import aside
from gradgate.common.processes import Process, owner_of
from gradgate.common.redaction import redacted
from gradgate.common.run_folder import RunFolder
from gradgate.common.state import state_dir
from gradgate.errors import ConfigError
from gradgate.gate.config import GateConfig
from tasks.mlflow_store import client_of, open_experiment, tracking_uri, translated
from tasks.run import runs_dir

logger = logging.getLogger("gradgate.tasks")

_DAY = 24 * 60 * 60  # seconds
_LAST = {"drills": "drill.json", "comparisons": "compare.json"}  # what is written last


def close_dead_runs(config: GateConfig) -> None:
    """Close as KILLED what dead processes of this host left behind, and remove their parts.

    Looked at are the folders of this state folder, whatever experiment their runs are in, and the
    experiment's runs that MLflow has as running, whatever state folder they are of. When MLflow
    refuses, that is logged, and no obstacle to the run that starts.

    Raises:
        TransientError: MLflow did not answer.
    """
    uri = tracking_uri(config.tracking.uri)
    try:
        with translated(uri):
            experiment = open_experiment(uri, config.tracking.experiment)  # makes the database
            client = client_of(uri)
        for path in sorted(runs_dir().glob("*")):
            _remove_dead_part(RunFolder(path), client, uri)
        for path in sorted(path for last in _LAST for path in state_dir().glob(f"{last}/*")):
            _remove_killed(RunFolder(path), client, uri)
        with translated(uri):
            running = client.search_runs([experiment], "attributes.status = 'RUNNING'")
            for run in filter(_is_dead, running):
                client.set_terminated(run.info.run_id, "KILLED")
                logger.warning("run %s was killed, and is closed", run.info.run_name)
    except ConfigError:
        logger.exception("runs of processes that were killed could not be closed")


def _remove_dead_part(folder: RunFolder, client: MlflowClient, uri: str) -> None:
    """Remove the folder of a gate run that was broken off, or unfinished weights in a whole one.

    MLflow hears of it first: broken off in between, the next start goes on. A folder whose run is
    in another store is left to a start that uses that store.
    """
    is_part = folder.path.suffix == ".part"
    trained = (folder.adapter, folder.model, folder.held_adapter, folder.held_model)
    parts = [folder.path] if is_part else list(map(aside, trained))
    for part in filter(Path.exists, parts):
        try:
            if not _is_abandoned(folder) or (is_part and not _is_closed(folder, client, uri)):
                return
            shutil.rmtree(part)
            logger.warning("%s is of a process that was killed, and is removed", part)
        except (ConfigError, OSError, ValueError):
            logger.exception("%s, of a process that was killed, could not be removed", part)


def _remove_killed(folder: RunFolder, client: MlflowClient, uri: str) -> None:
    """Remove the folder of a drill or a comparison that was killed; one that failed stays."""
    try:
        owner = owner_of(folder)
        is_whole = (folder.path / _LAST[folder.path.parent.name]).exists()
        if is_whole or owner is None or not owner.is_gone():
            return
        run = _run_of(folder, client, uri)
        if run is not None and run.info.status in ("RUNNING", "KILLED"):
            client.set_terminated(run.info.run_id, "KILLED")
            shutil.rmtree(folder.path)
            logger.warning("%s is of a process that was killed, and is removed", folder.path)
    except (ConfigError, OSError, ValueError):
        logger.exception("%s, of a process that was killed, could not be removed", folder.path)


def _is_abandoned(folder: RunFolder) -> bool:
    """Whether the process that builds the folder is known to be gone.

    A folder that names no process is left alone, unless it is a day old and holds nothing: its
    process was killed before it could write its name.
    """
    owner = owner_of(folder)
    if owner is not None:
        return owner.is_gone()
    if time.time() - folder.path.stat().st_mtime < _DAY:
        return False
    return not any(path.is_dir() or path.stat().st_size for path in folder.path.iterdir())


def _is_closed(part: RunFolder, client: MlflowClient, uri: str) -> bool:
    """Close the run of an abandoned folder in MLflow; False when it is in another store.

    Whatever MLflow heard, the folder did not get its name: the run has decided nothing.
    """
    if owner_of(part) is None:
        return True  # nothing in it; its run is found among those that are running
    record = json.loads(part.tracked.read_text(encoding="utf-8"))
    if record["uri"] != redacted(uri):
        return False
    run = _run_of(part, client, uri)
    if run is not None and run.info.status != "FAILED":
        with translated(uri):
            if "gradgate.verdict" in run.data.tags:
                client.delete_tag(run.info.run_id, "gradgate.verdict")
            client.set_terminated(run.info.run_id, "KILLED")
    return True


def _run_of(folder: RunFolder, client: MlflowClient, uri: str) -> Run | None:
    """The run in MLflow; None when somebody deleted it, or it is in another store."""
    record = json.loads(folder.tracked.read_text(encoding="utf-8"))
    if record["uri"] != redacted(uri):
        return None
    with translated(uri):
        try:
            run = client.get_run(record["run_id"])
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return None
    return run if run.info.lifecycle_stage == "active" else None


def _is_dead(run: Run) -> bool:
    tags = run.data.tags
    try:
        pid, started = int(tags["gradgate.pid"]), float(tags["gradgate.process_started"])
        return Process(tags["gradgate.host"], pid, started).is_gone()
    except (KeyError, ValueError):  # not a run of ours, or one of an earlier version
        return False
