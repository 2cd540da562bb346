"""A person decides on rows of a run, and the run goes on: nothing is read or scored again."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State

from flows.gate import concluded, open_flow_run, steps_of
from flows.gated_finetune import train_and_test
from flows.outcome import broken, state_of, state_of_test
from flows.request import ApproveRequest
from gradgate.attest.approving import EarlierRun
from gradgate.attest.resuming import go_on
from gradgate.errors import GradgateError
from gradgate.gate.config import GateConfig
from gradgate.gate.verdict import Verdict
from gradgate.train.config import GatedFinetuneConfig
from tasks.approve import config_of, earlier_run, record_decision, tag_with_earlier
from tasks.finetune import check_finetuning
from tasks.run import GateRun
from tasks.track import errors_recorded


@flow(name="approve")
def approve(request: ApproveRequest) -> State[Any]:
    """Decide on groups or rows of a run, and go on with it.

    What the run has read and scored is taken over into a run of its own, where the decisions take
    effect. When its verdict is a pass, and the run was one of gated-finetune, the model is trained
    on the accepted rows. The states are those of gated-finetune; Failed when nothing was decided.
    """
    try:
        revoked = None if request.revoked is None else Path(request.revoked)
        earlier = earlier_run(request.run, revoked)
        config = config_of(earlier)
        if (decided := request.decided) is not None:
            record_decision(request.run, revoked, decided)
        return _gone_on(earlier, config)
    except GradgateError as error:
        return broken(error)


def _gone_on(earlier: EarlierRun, config: GateConfig) -> State[Any]:
    run = replace(open_flow_run(config), until=earlier.expires)
    if isinstance(config, GatedFinetuneConfig):
        with errors_recorded(run, config):
            check_finetuning(config)
    verdict = concluded(run, config, lambda: _decided(earlier, run, config))
    if verdict.decision != "pass" or not isinstance(config, GatedFinetuneConfig):
        return state_of(verdict)
    test = train_and_test(run, config, verdict)
    return state_of(verdict) if test is None else state_of_test(test)


def _decided(earlier: EarlierRun, run: GateRun, config: GateConfig) -> Verdict:
    tag_with_earlier(run, earlier.folder)
    return go_on(earlier, run.folder.part, config, steps_of(run))
