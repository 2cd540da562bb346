"""What the tests of the tracking share."""

from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Run

from gradgate.gate.config import GateConfig
from tasks.tracking import TrackedRun

ROOT = Path(__file__).parents[2]


def config(uri: str | None = None, source: str = "org/name", **data: object) -> GateConfig:
    return GateConfig.model_validate(
        {
            "data": {"source": source, **data},
            "model": {"path": "org/model", "revision": "abc"},
            "detection": {"gradsentry": {"without_valley": {"too_few": "fail"}}},
            "tracking": {"uri": uri, "experiment": "exp"},
        }
    )


def read(run: TrackedRun) -> Run:
    return MlflowClient(tracking_uri=run.uri).get_run(run.run_id)
