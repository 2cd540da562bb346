"""The comparison: several methods on the same rows, recorded as one run in MLflow."""

from typing import Any

from prefect import flow, runtime
from prefect.client.schemas.objects import State
from prefect.states import Completed

from flows.outcome import broken
from gradgate.compare.config import CompareConfig
from gradgate.compare.result import Comparison
from gradgate.errors import GradgateError
from tasks.compare import (
    ComparisonRun,
    fetch_labelled,
    judge,
    open_comparison,
    publish_comparison,
    score_once,
)
from tasks.finetune import failure_recorded
from tasks.flow_runs import close_dead_flow_runs


@flow(name="compare")
def compare(config: CompareConfig) -> State[Any]:
    """Put methods side by side on one dataset: what each finds, decides and costs.

    Rows are fetched and scored once. Table, record and plot are in the state folder, below
    `comparisons/`, and in MLflow. Completed when it went through, whatever the methods say; one
    that fails is a line of the table.
    """
    try:
        close_dead_flow_runs()
        this = runtime.flow_run
        run = open_comparison(config, str(this.id), int(this.run_count), str(this.name))
        with failure_recorded(run.tracked):
            return Completed(message=run_compare(run, config).headline)
    except GradgateError as error:
        return broken(error)


def run_compare(run: ComparisonRun, config: CompareConfig) -> Comparison:
    """The steps of a comparison."""
    fetched = fetch_labelled(run, config)
    scores = score_once(run, fetched.prepared, config)
    judged = [judge(run, method, fetched, scores, config) for method in config.detection.methods]
    return publish_comparison(run, config, fetched, scores, judged)
