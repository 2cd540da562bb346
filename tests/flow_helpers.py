"""What the tests of the flows share: a configuration, and what a run left behind."""

from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Run
from prefect.client.schemas.objects import State

from gradgate.config import (
    DataConfig,
    DetectionConfig,
    GateConfig,
    GatedFinetuneConfig,
    ModelConfig,
    PolicyConfig,
    PowerConfig,
    ThresholdConfig,
)
from gradgate.verdict import Verdict, load_verdict
from helpers import MODEL

FIXED = ThresholdConfig(method="fixed", value=0.7)
ENTROPY_ALONE = DetectionConfig(method="gradsentry", power=PowerConfig(attacks=[]))
POLICY = PolicyConfig(max_poison_fraction=0.1, review_above=0.08)


def config(source: Path | str, **sections: Any) -> GateConfig:
    settings = {"detection": ENTROPY_ALONE, "threshold": FIXED, "policy": POLICY, **sections}
    model = settings.pop("model", ModelConfig(path=str(MODEL), device="cpu", dtype="float32"))
    data = settings.pop("data", DataConfig(source=str(source)))
    if "lora" in settings:
        return GatedFinetuneConfig(data=data, model=model, **settings)
    return GateConfig(data=data, model=model, **settings)


def folder_of(state: Path, ended: State[Any]) -> Path:
    return state / "runs" / str(ended.state_details.flow_run_id)


def verdict_of(state: Path, ended: State[Any]) -> Verdict:
    return load_verdict(folder_of(state, ended) / "verdict.json")


def mlflow_runs(state: Path, experiment: str = "gradgate") -> list[Run]:
    client = MlflowClient(f"sqlite:///{state}/mlflow.db")
    found = client.get_experiment_by_name(experiment)
    return list(client.search_runs([found.experiment_id])) if found else []
