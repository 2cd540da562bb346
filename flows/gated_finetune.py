"""The gate, behind it the fine-tuning, and the test of what it taught."""

from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State

from flows.gate import open_flow_run, run_gate
from flows.outcome import as_the_signal, broken, state_of, state_of_test
from gradgate.errors import GradgateError
from gradgate.gate.verdict import Verdict
from gradgate.release.result import AdapterTest
from gradgate.train.config import GatedFinetuneConfig
from tasks.adapter_test import release_adapter, test_adapter
from tasks.finetune import (
    check_finetuning,
    failure_recorded,
    finetune,
    open_finetuning,
    record_finetuning,
)
from tasks.run import GateRun
from tasks.track import errors_recorded


@flow(name="gated-finetune")
def gated_finetune(config: GatedFinetuneConfig) -> State[Any]:
    """Fine-tune on the accepted samples of a dataset that passes the gate.

    The states are those of the gate; unless it passes, nothing is trained. What was trained gets
    its name when its test passes; otherwise it is held back, and the state is NeedsReview or
    NotDecided. Failed when the gate, the fine-tuning or the test broke.
    """
    try:
        run = open_flow_run(config)
        with errors_recorded(run, config):
            check_finetuning(config)
        verdict = run_gate(run, config)
        if verdict.decision != "pass":
            return state_of(verdict)
        test = train_and_test(run, config, verdict)
        return state_of(verdict) if test is None else state_of_test(test)
    except GradgateError as error:
        return broken(error)


def train_and_test(
    run: GateRun, config: GatedFinetuneConfig, verdict: Verdict
) -> AdapterTest | None:
    """Train, test what came out, and release it if it passes; None where no test is wanted."""
    nested = open_finetuning(run, config)
    with failure_recorded(nested), as_the_signal():
        result = finetune(run, config, verdict)
        test = test_adapter(run, config, verdict, result) if config.adapter_test.enabled else None
        if test is not None and test.outcome == "pass":
            result = release_adapter(run, config, result, test)
        record_finetuning(nested, run, verdict, result, test)
    return test
