"""The drill: poison a dataset, and see what fine-tuning without and with the gate makes of it."""

from dataclasses import replace
from typing import Any

import numpy as np
from prefect import flow, runtime
from prefect.client.schemas.objects import State
from prefect.states import Completed

from flows.gate import open_flow_run, run_gate
from flows.outcome import broken
from gradgate.drill.config import DrillConfig
from gradgate.drill.report import CLEAN, GATED, REHEARSED, UNGATED, DrillResult
from gradgate.errors import GradgateError
from tasks.drill import (
    DrillRun,
    gate_config,
    kept_out,
    make_drill_data,
    nest,
    open_drill,
    publish_drill,
    rehearse,
    train_clean,
    train_poisoned,
)
from tasks.finetune import check_finetuning, failure_recorded
from tasks.flow_runs import close_dead_flow_runs
from tasks.track import errors_recorded


@flow(name="drill")
def drill(config: DrillConfig) -> State[Any]:
    """Measure on your own clean data what the gate is worth against an attack.

    Some rows are held back, some of the others poisoned. Three models are fine-tuned: on all of
    the poisoned data, on what the gate leaves of it, and on the clean rows; a fourth where a
    rehearsal of groups in doubt leaves something else. ASR and CACC of all, what the adapter test
    makes of each, and the gate's recall, F1 and false-positive rate are in the state folder, below
    `drills/`, and in MLflow. Completed when it went through, whatever it found; the models are not
    kept.
    """
    try:
        close_dead_flow_runs()
        this = runtime.flow_run
        run = open_drill(config, str(this.id), int(this.run_count), str(this.name))
        with failure_recorded(run.tracked):
            return Completed(message=run_drill(run, config).headline)
    except GradgateError as error:
        return broken(error)


def run_drill(run: DrillRun, config: DrillConfig) -> DrillResult:
    """The steps of a drill."""
    check_finetuning(config)
    data = make_drill_data(run, config)
    gating = gate_config(run, config)
    gate_run = open_flow_run(gating)
    with errors_recorded(gate_run, gating):
        nest(gate_run, run)
    verdict = run_gate(gate_run, gating)
    gate_folder = gate_run.folder.path
    flags = kept_out(gate_folder, len(data.roles))
    rehearsed = rehearse(run, config, len(data.roles))
    nothing = np.zeros_like(flags)
    arms = [
        train_poisoned(run, config, data, UNGATED, gate_folder, nothing),
        train_poisoned(run, config, data, GATED, gate_folder, flags),
    ]
    if rehearsed is not None and np.array_equal(rehearsed, flags):
        arms.append(replace(arms[1], name=REHEARSED))  # it was trained on the same rows
    elif rehearsed is not None:
        arms.append(train_poisoned(run, config, data, REHEARSED, gate_folder, rehearsed))
    if config.drill.reference:
        arms.append(train_clean(run, config, data, CLEAN, gate_folder))
    return publish_drill(run, config, data, verdict, flags, arms, rehearsed)
