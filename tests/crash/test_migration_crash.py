"""Processes that end while they rewrite a file of version 2, and several that do at once."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from store_helpers import CONTEXT, ENVIRONMENT, clear, key, sql
from version2_helpers import old_store, scores, signals_of_version2

from gradgate.scoring.store.scores import ScoreStore
from gradgate.scoring.store.upkeep import Verified, verify

N_ROWS = 2_500  # they are rewritten in three steps


@pytest.fixture(scope="module")
def old_file(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("version2") / "scores.db"
    old_store(path, scores(range(N_ROWS)))
    return path.read_bytes()


def say(process: subprocess.Popen[str], line: str) -> None:
    assert process.stdin is not None
    process.stdin.write(f"{line}\n")
    process.stdin.flush()


def heard(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def check(path: Path) -> None:
    right = scores(range(N_ROWS))
    with signals_of_version2(), ScoreStore(path, CONTEXT) as store:
        assert store.set_aside is None
        assert store.get([key(number) for number in range(N_ROWS)]) == right
        assert verify(store) == Verified(N_ROWS, 0, 0, None)


EXIT_AT = """
import os, sys
from store_helpers import CONTEXT, Path, ScoreStore
from gradgate.scoring.store.version2 import OldContext
left, real = int(sys.argv[2]), OldContext.decoded
def decoded(self, key, content):
    global left
    left -= 1
    if left < 0:
        os._exit(9)
    return real(self, key, content)
OldContext.decoded = decoded
ScoreStore(Path(sys.argv[1]), CONTEXT).close()
"""


@pytest.mark.parametrize("n_rows", [0, 1, 1_000, 1_500, N_ROWS - 1, N_ROWS])
def test_a_process_that_ends_in_the_middle(tmp_path: Path, old_file: bytes, n_rows: int) -> None:
    path = tmp_path / "scores.db"
    path.write_bytes(old_file)
    done = subprocess.run(
        [sys.executable, "-c", EXIT_AT, str(path), str(n_rows)],
        env=ENVIRONMENT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == (0 if n_rows == N_ROWS else 9), done.stderr
    version = sql(path, "PRAGMA user_version")
    assert version == [(3 if n_rows == N_ROWS else 2,)]
    check(path)


OPEN = """
import os, sys
from store_helpers import CONTEXT, Path, ScoreStore
for line in sys.stdin:
    pid = os.fork()
    if pid == 0:
        ScoreStore(Path(sys.argv[1]), CONTEXT).close()
        os._exit(0)
    os.write(1, f"{pid}\\n".encode())
    sys.stdin.readline()  # until it was killed: the number of a reaped one may be another's
    os.waitpid(pid, 0)
    os.write(1, b"dead\\n")
"""


@pytest.mark.slow
def test_processes_that_are_killed_lose_nothing(tmp_path: Path, old_file: bytes) -> None:
    path, chance, versions = tmp_path / "scores.db", random.Random(5), []
    server = subprocess.Popen(
        [sys.executable, "-c", OPEN, str(path)], env=ENVIRONMENT,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    longest = 0.2
    for _ in range(40):
        clear(path)
        path.write_bytes(old_file)
        say(server, "go")
        pid = int(heard(server))
        time.sleep(chance.uniform(0, longest))
        os.kill(pid, signal.SIGKILL)
        say(server, "killed")
        assert heard(server) == "dead"
        versions += sql(path, "PRAGMA user_version")
        if versions[-1] == (3,):
            longest *= 0.8  # aim at the middle, however fast the machine is
        check(path)
    server.communicate(timeout=20)
    assert server.returncode == 0
    assert (2,) in versions


START_TOGETHER = """
import sys
from store_helpers import CONTEXT, Path, ScoreStore
from version2_helpers import scores, signals_of_version2
right = scores(range(int(sys.argv[2])))
sys.stdin.readline()
with signals_of_version2(), ScoreStore(Path(sys.argv[1]), CONTEXT) as store:
    assert store.get(list(right)) == right
"""


def test_several_processes_open_an_old_file_at_once(tmp_path: Path, old_file: bytes) -> None:
    path = tmp_path / "scores.db"
    path.write_bytes(old_file)
    running = [
        subprocess.Popen(
            [sys.executable, "-c", START_TOGETHER, str(path), str(N_ROWS)], env=ENVIRONMENT,
            stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for _ in range(4)
    ]  # fmt: skip
    for process in running:
        say(process, "go")
    for process in running:
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors
    check(path)
