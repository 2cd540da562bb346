"""A gate run: its folder, built aside and renamed when whole, and its run in MLflow."""

import json
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

import yaml

from gradgate.common.json_values import parse_json
from gradgate.common.processes import Process
from gradgate.common.redaction import redacted
from gradgate.common.run_folder import RunFolder
from gradgate.common.state import state_dir
from gradgate.errors import ConfigError, DataError
from gradgate.gate.config import GateConfig
from tasks.tracking import TrackedRun, end_run


@dataclass(frozen=True)
class GateRun:
    """Where a gate run keeps its evidence.

    Attributes:
        folder: It exists once the run is over and published; until then there is its `part`.
        tracked: The run in MLflow.
        flow_run: Id of the flow run in Prefect.
        until: When the attestation expires of the run that this one goes on with.
    """

    folder: RunFolder
    tracked: TrackedRun
    flow_run: str | None = None
    until: datetime | None = None


def runs_dir() -> Path:
    """Where the folders of all gate runs lie."""
    return state_dir() / "runs"


def run_folder(flow_run_id: str, attempt: int = 1) -> Path:
    """Folder of an attempt at the flow run; a flow run that is retried keeps its id."""
    return runs_dir() / (flow_run_id if attempt == 1 else f"{flow_run_id}-{attempt}")


def make_run_folder(folder: RunFolder, tracked: TrackedRun, config: GateConfig, what: str) -> None:
    """Make the folder of a run; run.json is the first file in it, and config.yaml the second.

    Args:
        folder: It must not be there.
        tracked: The run in MLflow, which is closed where the folder cannot be made.
        config: Of the run.
        what: What the folder is called in the error.

    Raises:
        ConfigError: It cannot be made.
    """
    try:
        folder.path.mkdir(parents=True)
        save_tracked(folder, tracked)
        plain = config.model_dump(mode="json")
        resolved = redacted(yaml.safe_dump(plain, sort_keys=False, allow_unicode=True))
        folder.config.write_text(resolved, encoding="utf-8")
    except OSError as error:
        end_run(tracked, ok=False)
        raise ConfigError(f"{what} {folder.path} cannot be made: {error}") from error


def save_tracked(folder: RunFolder, tracked: TrackedRun) -> None:
    """Write down where the run of a folder is in MLflow, and whose it is."""
    where = {**asdict(tracked), "uri": redacted(tracked.uri)}
    record = {**where, "owner": asdict(Process.this())}
    text = json.dumps(record, indent=2) + "\n"
    folder.tracked.write_text(text, encoding="utf-8")


def tracked_id(folder: RunFolder) -> str:
    """The id in MLflow of the run that a folder is of, which `save_tracked` wrote down.

    Raises:
        DataError: It cannot be read.
    """
    try:
        return str(parse_json(folder.tracked.read_text(encoding="utf-8"))["run_id"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{folder.tracked} does not name a run in MLflow: {error}") from error
