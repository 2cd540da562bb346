"""What the tests of the flows share: a configuration, and what a run left behind."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Run
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId
from prefect.client.schemas.objects import State

from gradgate.config import (
    AttackName,
    DataConfig,
    ModelConfig,
    PolicyConfig,
    PowerConfig,
)
from gradgate.gate.config import DetectionConfig, GateConfig
from gradgate.gate.verdict import Answer, Verdict, load_verdict
from gradgate.methods.gradsentry.config import GradsentryConfig, ThresholdConfig
from gradgate.release.config import AdapterTestConfig
from gradgate.train.config import GatedFinetuneConfig
from helpers import MODEL

POLICY = PolicyConfig(max_poison_fraction=0.1, review_above=0.08)
# Every step of the test of what was learnt, with answers that are cut: not what a test is about.
SHORT_ANSWERS = AdapterTestConfig(prompts=24, max_new_tokens=4)


def entropy_alone(
    threshold: ThresholdConfig | None = None, attacks: Sequence[AttackName] = ()
) -> DetectionConfig:
    """The published method, by default with a threshold that is fixed and without canaries."""
    threshold = threshold or ThresholdConfig(method="fixed", value=0.7)
    return DetectionConfig(
        methods=["gradsentry"],
        gradsentry=GradsentryConfig(threshold=threshold),
        power=PowerConfig(attacks=list(attacks)),
    )


def config(source: Path | str, **sections: Any) -> GateConfig:
    settings = {"detection": entropy_alone(), "policy": POLICY, **sections}
    model = settings.pop("model", ModelConfig(path=str(MODEL), device="cpu", dtype="float32"))
    data = settings.pop("data", DataConfig(source=str(source)))
    return GateConfig(data=data, model=model, **settings)


def finetune_config(source: Path | str, **sections: Any) -> GatedFinetuneConfig:
    names = ("finetune", "adapter_test")
    behind = {name: sections.pop(name) for name in names if name in sections}
    gate = config(source, **sections)
    return GatedFinetuneConfig(**behind, **{name: value for name, value in gate})


def folder_of(state: Path, ended: State[Any]) -> Path:
    return state / "runs" / str(ended.state_details.flow_run_id)


def verdict_of(state: Path, ended: State[Any]) -> Verdict:
    return load_verdict(folder_of(state, ended) / "verdict.json")


def answer_of(verdict: Verdict) -> Answer:
    """The answer to the question that these tests ask."""
    answer = verdict.answer("poisoned")
    assert answer is not None
    return answer


def mlflow_runs(state: Path, experiment: str = "gradgate") -> list[Run]:
    client = MlflowClient(f"sqlite:///{state}/mlflow.db")
    found = client.get_experiment_by_name(experiment)
    return list(client.search_runs([found.experiment_id])) if found else []


def artifacts_of(ended: State[Any]) -> dict[str, Any]:
    with get_client(sync_client=True) as client:
        wanted = ArtifactFilter(
            flow_run_id=ArtifactFilterFlowRunId(any_=[ended.state_details.flow_run_id])
        )
        return {str(a.key): a for a in client.read_artifacts(artifact_filter=wanted)}
