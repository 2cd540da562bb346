"""The gate, and behind it the fine-tuning."""

from typing import Any

from prefect import flow, runtime
from prefect.client.schemas.objects import State

from flows.gate import run_gate
from flows.outcome import state_of
from gradgate.config import GatedFinetuneConfig
from tasks.finetune import finetune
from tasks.track import open_run


@flow(name="gated-finetune")
def gated_finetune(config: GatedFinetuneConfig) -> State[Any]:
    """Fine-tune LoRA on the accepted samples of a dataset that passes the gate.

    The states are those of the gate; unless it passes, nothing is trained.
    """
    run = open_run(config, str(runtime.flow_run.id), str(runtime.flow_run.name))
    verdict = run_gate(run, config)
    if verdict.decision == "pass":
        finetune(run, config)
    return state_of(verdict)
