"""Temporary servers of Prefect that nobody would end: those of processes that were killed."""

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from flows.prefect_environment import _SERVER, _STARTED_BY, end_servers_left_behind
from gradgate.common.processes import Process

HOST = Process.this().host
DEAD = Process(HOST, 999_999_999, 1.0).as_text()
STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1); signal.pause()"
WILLING = "import signal; print(1, flush=True); signal.pause()"


@pytest.fixture
def started() -> Iterator[list[subprocess.Popen[str]]]:
    processes: list[subprocess.Popen[str]] = []
    yield processes
    for process in processes:
        process.kill()
        process.wait()


def test_a_server_of_a_killed_process_is_ended_and_no_other(
    started: list[subprocess.Popen[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flows.prefect_environment._PATIENCE", 1)
    cases = [
        (WILLING, _SERVER, DEAD, True),
        (STUBBORN.replace("print(1)", "print(1, flush=True)"), _SERVER, DEAD, True),
        (WILLING, _SERVER, Process.this().as_text(), False),
        (WILLING, _SERVER, Process("another host", 999_999_999, 1.0).as_text(), False),
        (WILLING, _SERVER, "no process", False),
        (WILLING, _SERVER, None, False),  # somebody started it by hand
        (WILLING, "another program", DEAD, False),
    ]
    for code, program, owner, _ in cases:
        environment = {name: value for name, value in os.environ.items() if name != _STARTED_BY}
        environment |= {} if owner is None else {_STARTED_BY: owner}
        command = [sys.executable, "-c", code, program]
        process = subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, text=True, bufsize=1
        )
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "1\n"
    end_servers_left_behind()
    for process, (*_, is_ended) in zip(started, cases, strict=True):
        if is_ended:
            process.wait(timeout=30)
    ended = [process.poll() is not None for process in started]
    assert ended == [is_ended for *_, is_ended in cases]
