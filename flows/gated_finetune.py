"""The gate, and behind it the fine-tuning."""

from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State

from flows.gate import open_flow_run, run_gate
from flows.outcome import broken, state_of
from gradgate.errors import GradgateError
from gradgate.train.config import GatedFinetuneConfig
from tasks.finetune import (
    check_finetuning,
    failure_recorded,
    finetune,
    open_finetuning,
    record_finetuning,
)
from tasks.track import errors_recorded


@flow(name="gated-finetune")
def gated_finetune(config: GatedFinetuneConfig) -> State[Any]:
    """Fine-tune on the accepted samples of a dataset that passes the gate.

    The states are those of the gate; unless it passes, nothing is trained. Failed when the gate or
    the fine-tuning broke.
    """
    try:
        run = open_flow_run(config)
        with errors_recorded(run):
            check_finetuning(config)
        verdict = run_gate(run, config)
        if verdict.decision == "pass":
            nested = open_finetuning(run, config)
            with failure_recorded(nested):
                result = finetune(run, config, verdict)
                record_finetuning(nested, run, verdict, result)
        return state_of(verdict)
    except GradgateError as error:
        return broken(error)
