"""The gate: the pipeline's steps as Prefect's tasks, and the evidence in MLflow."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from prefect import flow, runtime
from prefect.client.schemas.objects import State

import gradgate.gate.pipeline
from flows.outcome import as_the_signal, broken, state_of
from gradgate.common.run_folder import RunFolder
from gradgate.data.prepare import Prepared
from gradgate.errors import GradgateError
from gradgate.gate.config import GateConfig
from gradgate.gate.pipeline import STEPS, ScoredRun, Steps
from gradgate.gate.verdict import Verdict
from gradgate.report.brief import in_figures
from tasks.alerts.messages import label_run
from tasks.changes import compare, remember
from tasks.flow_runs import close_dead_flow_runs
from tasks.report import report
from tasks.run import GateRun
from tasks.steps import decide, detect, fetch, honour, measure, score
from tasks.track import errors_recorded, log_scoring, open_run, publish
from tasks.validate import check_flags, check_raw_data


@flow(name="gate")
def gate(config: GateConfig) -> State[Any]:
    """Decide whether a dataset may be used for fine-tuning.

    The state is Completed for a pass, and one of the failed states `Rejected`, `NeedsReview` and
    `NotDecided` for the other verdicts; Failed when the gate broke. The evidence lies in the state
    folder under the id of the flow run, and in MLflow.
    """
    try:
        return state_of(run_gate(open_flow_run(config), config))
    except GradgateError as error:
        return broken(error)


def open_flow_run(config: GateConfig) -> GateRun:
    """Open the gate run of the flow run that this is called in."""
    close_dead_flow_runs()
    this = runtime.flow_run
    return open_run(config, str(this.id), int(this.run_count), str(this.name))


def run_gate(run: GateRun, config: GateConfig) -> Verdict:
    """Decide and publish the evidence, also of an error."""
    part, steps = run.folder.part, steps_of(run)
    return concluded(run, config, lambda: gradgate.gate.pipeline.run_gate(config, part, steps))


def concluded(run: GateRun, config: GateConfig, decide: Callable[[], Verdict]) -> Verdict:
    """Publish the evidence of what is decided, or of what breaks meanwhile."""
    with errors_recorded(run, config), as_the_signal():
        verdict = compare(run, config, decide())
        publish(run, config, verdict)
    remember(run, config, verdict)
    report(run)
    label_run(run.flow_run, in_figures(verdict))
    return verdict


def steps_of(run: GateRun) -> Steps:
    """The steps as tasks; their order is that of the pipeline."""

    def score_and_log(prepared: Prepared, config: GateConfig, folder: RunFolder) -> ScoredRun:
        scored = score(prepared, config, folder)
        log_scoring(run, scored)
        return scored

    return replace(
        STEPS,
        fetch=fetch,
        check_raw_data=check_raw_data,
        score=score_and_log,
        detect=detect,
        honour=honour,
        check_flags=check_flags,
        measure=measure,
        decide=decide,
    )
