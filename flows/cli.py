"""The command line of the flows. The exit code is that of the verdict.

A command imports its flow when its configuration is known to be right: the libraries of a flow
take ten seconds to import, and help and a wrong setting wait for none of them.
"""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from cyclopts import App, Parameter

from flows.automations import app as automations_app
from gradgate.cli.options import FILE, configured
from gradgate.cli.running import run as run_app
from gradgate.cli.said import action_of
from gradgate.common.escaping import printable
from gradgate.common.run_folder import RunFolder
from gradgate.compare.config import CompareConfig
from gradgate.config import check_config
from gradgate.drill.config import DrillConfig
from gradgate.errors import TransientError
from gradgate.gate.config import GateConfig
from gradgate.train.config import GatedFinetuneConfig

if TYPE_CHECKING:
    from prefect.client.schemas.objects import State

app = App(
    name="python -m flows",
    help="Run the flows. gate.example.yaml shows a configuration.\n\n`COMMAND --help` shows the "
    "options that matter first, and `--help-all` every one.",
    help_format="markdown",
    default_parameter=Parameter(negative=(), show_default=False),
    suppress_keyboard_interrupt=False,
    version_flags=(),
)
app.command(automations_app, name="automations")


@app.command(name="gate")
@configured(GateConfig, FILE)
def _gate(config: GateConfig, *, exit_zero: bool = False) -> int:
    """Decide whether a dataset may be used for fine-tuning.

    Args:
        config: What is judged, and how.
        exit_zero: Report only: a verdict other than pass exits 0 too.
    """
    from flows.gate import gate
    from flows.outcome import end_not_on_console

    with _ready_to_run(), end_not_on_console():
        state = gate(config, return_state=True)
    return _finish(state, exit_zero)


@app.command(name="gated-finetune")
@configured(GatedFinetuneConfig, FILE)
def _gated_finetune(config: GatedFinetuneConfig, *, exit_zero: bool = False) -> int:
    """Decide, fine-tune on the accepted samples when the verdict is a pass, and test what came out.

    Args:
        config: What is judged and trained, and how.
        exit_zero: Report only: a verdict other than pass exits 0 too.
    """
    from flows.gated_finetune import gated_finetune
    from flows.outcome import end_not_on_console

    with _ready_to_run(), end_not_on_console():
        state = gated_finetune(config, return_state=True)
    return _finish(state, exit_zero)


@app.command(name="approve")
def _approve(
    run: str,
    *,
    by: str = "",
    reason: str = "",
    group: list[str] | None = None,
    rows: list[str] | None = None,
    keep: bool = False,
    drop: bool = False,
    withdraw: bool = False,
    pattern: bool = False,
    revoked: str | None = None,
    exit_zero: bool = False,
) -> int:
    """Decide on groups or rows of a run, and go on with it; without a decision, only go on.

    Nothing is read or scored again. When the run passes now, and was one of gated-finetune, the
    model is trained on the accepted rows. The exit code is the verdict's.

    Args:
        run: Folder of the run, or its name in the state folder.
        by: Who decides: a name in `approvals.who` of the run's configuration.
        reason: Why; an auditor reads it.
        group: A group of the report, such as `poisoned:1`; may be said several times.
        rows: Row numbers and ranges, from 0: `3,17-20`.
        keep: These rows may be trained on.
        drop: These rows are never trained on.
        withdraw: Take back what the same person has said of them.
        pattern: With --keep and --group: this pattern is ours, so that new rows of such a group
            are kept, too. An attacker who knows it can hide in it.
        revoked: File with digests of attestations and ids of keys that no longer hold; the one
            beside the gate's key that ends in .revoked when absent.
        exit_zero: Report only: a verdict other than pass exits 0 too.
    """
    from flows.approve import approve
    from flows.outcome import end_not_on_console
    from flows.request import ApproveRequest

    given = {
        "run": run,
        "action": action_of(keep, drop, withdraw),
        "groups": group or [],
        "rows": ",".join(rows or []),
        "by": by,
        "reason": reason,
        "pattern": pattern,
        "revoked": revoked,
    }
    request = check_config(given, ApproveRequest, None)
    with _ready_to_run(), end_not_on_console():
        state = approve(request, return_state=True)
    return _finish(state, exit_zero)


@app.command(name="drill")
@configured(DrillConfig, FILE)
def _drill(config: DrillConfig) -> int:
    """Poison a clean dataset, and compare fine-tuning without and with the gate.

    Exits with 0 when the drill went through, whatever it found.
    """
    from flows.drill import drill
    from flows.outcome import exit_code_of
    from tasks.drill import drill_folder

    with _ready_to_run():
        state = drill(config, return_state=True)
    page = drill_folder(str(state.state_details.flow_run_id)) / "drill.md"
    if state.is_completed():
        print(printable(page.read_text(encoding="utf-8")))
        print(f"report: {page.parent}")
    print(printable(f"{state.name}: {state.message}"))
    return exit_code_of(state)


@app.command(name="compare")
@configured(CompareConfig, FILE)
def _compare(config: CompareConfig) -> int:
    """Let several methods judge the same rows, and put side by side what they find and cost.

    Exits with 0 when it went through, whatever the methods say.
    """
    from flows.compare import compare
    from flows.outcome import exit_code_of
    from tasks.compare import comparison_folder

    with _ready_to_run():
        state = compare(config, return_state=True)
    folder = comparison_folder(str(state.state_details.flow_run_id))
    if state.is_completed():
        print(f"written to: {folder}")
    print(printable(f"{state.name}: {state.message}"))
    return exit_code_of(state)


@app.command(name="demo")
def _demo() -> int:
    """Turn a poisoned dataset away, let a clean one through, and fine-tune on it."""
    from flows.demo import run_demo

    with _ready_to_run():
        run_demo(print)
    return 0


def _finish(state: "State[Any]", exit_zero: bool) -> int:
    """Say where the evidence is and how it ended; the exit code is the verdict's."""
    from flows.outcome import exit_code_of
    from tasks.run import run_folder

    run = RunFolder(run_folder(str(state.state_details.flow_run_id)))
    left = [("evidence", run.path), ("adapter", run.adapter), ("model", run.model)]
    left += [("held back", run.held_adapter), ("held back", run.held_model)]
    left += [("test", run.adapter_test_page)]
    for name, path in left:
        if path.exists():
            print(f"{name}: {path}")
    print(printable(f"{state.name}: {state.message}"))
    code = exit_code_of(state)
    return 0 if exit_zero and code != 2 else code


@contextmanager
def _ready_to_run() -> Iterator[None]:
    """Silence the libraries, tag the flow run, and say what to do about a silent Prefect server.

    The flow has to be imported by then: MLflow sets its own level when it is.
    """
    from transformers.utils import logging as transformers_logging

    from flows.prefect_environment import end_servers_left_behind
    from tasks.flow_runs import tagged_with_process

    end_servers_left_behind()
    transformers_logging.disable_progress_bar()
    logging.getLogger("mlflow").setLevel(logging.WARNING)
    try:
        with tagged_with_process():
            yield
    except RuntimeError as error:
        if not str(error).startswith("Failed to reach API"):
            raise
        advice = "start it, or unset PREFECT_API_URL to run without one"
        raise TransientError(f"Prefect's server does not answer ({error}); {advice}") from error


def main() -> None:
    """Entry point of `python -m flows`."""
    sys.exit(run_app(app))
