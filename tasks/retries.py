"""What a task does when it fails: only a fault that may pass is tried again."""

from typing import Any, TypedDict

from prefect import Task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun

from gradgate.errors import TransientError


class TaskOptions(TypedDict):
    """Options that every task shares."""

    retries: int
    retry_delay_seconds: list[float]
    retry_condition_fn: Any
    cache_policy: Any


def is_transient(task: Task[..., Any], run: TaskRun, state: State[Any]) -> bool:
    """True when the task failed by a TransientError."""
    try:
        state.result()
    except TransientError:
        return True
    except Exception:
        return False
    return False


# NO_CACHE: Prefect would hash the arguments, and return a path although the file has gone.
OPTIONS: TaskOptions = {
    "retries": 2,
    "retry_delay_seconds": [2.0, 20.0],
    "retry_condition_fn": is_transient,
    "cache_policy": NO_CACHE,
}
