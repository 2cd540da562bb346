"""A gate run: its folder, built aside and renamed when whole, and its run in MLflow."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from gradgate.errors import DataError
from gradgate.redaction import redacted
from gradgate.state import state_dir
from tasks.tracking import TrackedRun


@dataclass(frozen=True)
class GateRun:
    """Where a gate run keeps its evidence.

    Attributes:
        folder: The run's folder; it exists once the run is over and published.
        tracked: The run in MLflow.
    """

    folder: Path
    tracked: TrackedRun

    @property
    def part(self) -> Path:
        """The folder while the run goes on."""
        return self.folder.with_name(self.folder.name + ".part")


def run_folder(flow_run_id: str, attempt: int = 1) -> Path:
    """Folder of an attempt at the flow run; a flow run that is retried keeps its id."""
    return state_dir() / "runs" / (flow_run_id if attempt == 1 else f"{flow_run_id}-{attempt}")


def save_run(run: GateRun) -> None:
    """Write run.json: where the run is in MLflow."""
    record = {**asdict(run.tracked), "uri": redacted(run.tracked.uri)}
    (run.part / "run.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def tracked_id(folder: Path) -> str:
    """The id in MLflow of the run in a finished folder, which `save_run` wrote down.

    Raises:
        DataError: It cannot be read.
    """
    path = folder / "run.json"
    try:
        return str(json.loads(path.read_text(encoding="utf-8"))["run_id"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} does not name a run in MLflow: {error}") from error
