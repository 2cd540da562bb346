"""What Prefect still takes for running, of processes that were killed."""

from collections.abc import Iterable
from uuid import UUID

import pytest
from prefect import flow, runtime
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State, StateType
from prefect.states import Completed, Pending, Running

from gradgate.common.processes import Process
from tasks.flow_runs import _OURS, _tag, close_dead_flow_runs, tagged_with_process

pytestmark = pytest.mark.usefixtures("prefect_server")

THIS = Process.this()
DEAD = Process(THIS.host, 999_999_999, 1.0)
ELSEWHERE = Process("another host", 999_999_999, 1.0)


@flow
def night() -> tuple[str, list[str]]:
    close_dead_flow_runs()
    return str(runtime.flow_run.id), list(runtime.flow_run.tags)


def opened(tags: Iterable[str], state: State | None = None) -> UUID:
    with get_client(sync_client=True) as client:
        return client.create_flow_run(night, tags=tags, state=state or Running()).id


def kind_of(flow_run: UUID) -> StateType:
    with get_client(sync_client=True) as client:
        found = client.read_flow_run(flow_run).state_type
    assert found is not None
    return found


def test_the_next_start_closes_what_dead_processes_left_and_nothing_else() -> None:
    dead = [opened([_OURS, _tag(DEAD)]), opened([_OURS, _tag(DEAD)], Pending())]
    others = [
        opened([_OURS, _tag(THIS)]),
        opened([_OURS, _tag(ELSEWHERE)]),
        opened([_OURS, _tag(DEAD), _tag(THIS)]),  # taken up again
        opened([_OURS, "process of somebody"]),
        opened([_OURS]),
        opened([_tag(DEAD)]),
    ]
    over = opened([_OURS, _tag(DEAD)], Completed())
    night()
    assert {kind_of(one) for one in dead} == {StateType.CRASHED}
    assert {kind_of(one) for one in others} == {StateType.RUNNING}
    assert kind_of(over) == StateType.COMPLETED


def test_a_command_tags_its_flow_run_before_it_exists() -> None:
    with tagged_with_process():
        _, tags = night()
    assert set(tags) == {_OURS, _tag(THIS)}


def test_a_run_that_a_worker_starts_tags_itself() -> None:
    flow_run, _ = night()
    with get_client(sync_client=True) as client:
        assert set(client.read_flow_run(UUID(flow_run)).tags) == {_OURS, _tag(THIS)}
