"""Flow runs whose process was killed: closed in Prefect by the next start.

SIGKILL leaves nobody who could tell Prefect. A flow run has a tag with its process, from the moment
it exists where a command starts it, and from its first statement where a worker does.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
from prefect import runtime, tags
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
    FlowRunFilterTags,
)
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.exceptions import PrefectException
from prefect.states import Crashed

from gradgate.common.processes import Process

logger = logging.getLogger("gradgate.tasks")

_OURS = "gradgate"  # a tag of every flow run of ours, by which Prefect finds them
_PREFIX = "process "
_GOING_ON = [StateType.PENDING, StateType.RUNNING, StateType.CANCELLING]


@contextmanager
def tagged_with_process() -> Iterator[None]:
    """Give the flow runs that are called for the tag of this process."""
    with tags(_OURS, _tag(Process.this())):
        yield


def close_dead_flow_runs() -> None:
    """Tag the flow run that this is called in, and close those of dead processes of this host.

    When Prefect refuses, that is logged, and no obstacle to the run that starts.
    """
    own = _tag(Process.this())
    try:
        with get_client(sync_client=True) as client:
            if own not in runtime.flow_run.tags:
                others = [tag for tag in runtime.flow_run.tags if not tag.startswith(_PREFIX)]
                client.update_flow_run(runtime.flow_run.id, tags={*others, _OURS, own})
            for run in filter(_is_dead, _going_on(client)):
                client.set_flow_run_state(
                    run.id, Crashed(message="its process was killed"), force=True
                )
                logger.warning("flow run %s was killed, and is closed", run.name)
    except (PrefectException, httpx.HTTPError):
        logger.exception("flow runs of processes that were killed could not be closed")


def _going_on(client: SyncPrefectClient) -> list[FlowRun]:
    state = FlowRunFilterState(type=FlowRunFilterStateType(any_=_GOING_ON))
    wanted = FlowRunFilter(state=state, tags=FlowRunFilterTags(all_=[_OURS]))
    return client.read_flow_runs(flow_run_filter=wanted)


def _is_dead(run: FlowRun) -> bool:
    """Whether all processes that the run names are known to be gone, and it names one."""
    named = [tag.removeprefix(_PREFIX) for tag in run.tags if tag.startswith(_PREFIX)]
    found = [Process.from_text(text) for text in named]
    return bool(found) and all(process is not None and process.is_gone() for process in found)


def _tag(process: Process) -> str:
    return f"{_PREFIX}{process.as_text()}"
