"""Killed writers, and a replacing of the file that is cut short: nothing is lost."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import IO

import pytest
from store_helpers import CONTEXT, ENVIRONMENT, N_WRITTEN, clear, filled, key, scores

from gradgate.common.files import aside
from gradgate.errors import StoreError
from gradgate.scoring.store.scores import ScoreStore
from gradgate.scoring.store.upkeep import verify

N_ROWS = 2_000


def _of(pipe: IO[str] | None) -> IO[str]:
    assert pipe is not None
    return pipe


class Server:
    """Forks writers, so that none has to import anything before it can be killed."""

    def __init__(self, path: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", "import sys, store_helpers; store_helpers.serve(sys.argv[1])",
             str(path)],
            env=ENVIRONMENT,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def start_writer(self, seed: int) -> int:
        """The pid."""
        _of(self.process.stdin).write(f"{seed}\n")
        _of(self.process.stdin).flush()
        self.lines: list[str] = []
        while not self.lines or not self.lines[-1].startswith("pid"):
            self.lines.append(_of(self.process.stdout).readline())
        return int(self.lines.pop().split()[1])

    def stored(self) -> set[int]:
        """What the writer, which is dead, has said to be stored."""
        for line in iter(_of(self.process.stdout).readline, "dead\n"):
            self.lines.append(line)
        ranges = [line.split()[1:] for line in self.lines]
        return {number for start, end in ranges for number in range(int(start), int(end))}

    def close(self) -> None:
        _of(self.process.stdin).close()
        assert self.process.wait(timeout=20) == 0


@pytest.mark.slow
def test_writers_that_are_killed_lose_nothing(tmp_path):
    path = tmp_path / "scores.db"
    servers = [Server(path), Server(path)]
    chance = random.Random(7)
    everything = [key(number) for number in range(N_WRITTEN)]
    right = scores(range(N_WRITTEN))
    stored: set[int] = set()
    n_found = 0
    for _ in range(30):
        pids = [server.start_writer(chance.randrange(10**9)) for server in servers]
        for pid in pids:
            time.sleep(chance.uniform(0.001, 0.12))
            os.kill(pid, signal.SIGKILL)
        for server in servers:
            stored |= server.stored()
        with ScoreStore(path, CONTEXT) as store:
            found = store.get(everything)
            assert store.n_damaged == 0
        assert found.keys() >= {everything[number] for number in stored}
        assert all(right[k] == v for k, v in found.items())
        assert len(found) >= n_found
        n_found = len(found)
    for server in servers:
        server.close()
    with ScoreStore(path, CONTEXT) as store:
        assert store.set_aside is None
        checked = verify(store)
    assert (checked.whole, checked.removed, checked.set_aside) == (n_found, 0, None)
    assert n_found > 1000  # or nothing was tested


MEND = """
import sys
from store_helpers import CONTEXT, Path, ScoreStore, scores
right = scores(range(3000))
sys.stdin.readline()
with ScoreStore(Path(sys.argv[1]), CONTEXT) as store:
    assert store.get(list(right)).items() <= right.items()
    store.put(right)
    assert store.get(list(right)) == right
    print(store.set_aside)
"""


def test_only_one_of_several_processes_replaces_the_file(tmp_path):
    path = tmp_path / "scores.db"
    right = filled(path, 3000)
    content = bytearray(path.read_bytes())
    content[5 * 4096 : 30 * 4096] = bytes(25 * 4096)
    path.write_bytes(content)
    running = [
        subprocess.Popen(
            [sys.executable, "-c", MEND, str(path)], env=ENVIRONMENT,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for _ in range(4)
    ]  # fmt: skip
    replaced = []
    for process in running:
        _of(process.stdin).write("go\n")
        _of(process.stdin).flush()
    for process in running:
        out, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors
        replaced += [out.strip()] * (out.strip() != "None")
    assert len(replaced) == 1
    with ScoreStore(path, CONTEXT) as store:
        assert store.get(list(right)) == right
        assert verify(store).whole == 3000


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A file of which pages are blank."""
    path = tmp_path_factory.mktemp("broken") / "scores.db"
    filled(path, N_ROWS)
    content = bytearray(path.read_bytes())
    content[4096 * 5 : 4096 * 15] = bytes(4096 * 10)
    return bytes(content)


def salvageable(path: Path, broken: bytes) -> int:
    clear(path)
    path.write_bytes(broken)
    with ScoreStore(path, CONTEXT) as store:
        n = len(store.get([key(number) for number in range(N_ROWS)]))
    clear(path)
    assert 0.8 * N_ROWS < n < N_ROWS
    return n


EXIT_AT = """
import os, sys
from store_helpers import CONTEXT, Path, ScoreStore, key
left = int(sys.argv[2])
def watched(name):
    real = getattr(Path, name)
    def step(self, *args, **kwargs):
        global left
        if left == 0:
            os._exit(9)
        left -= 1
        return real(self, *args, **kwargs)
    setattr(Path, name, step)
for name in ("rename", "replace", "unlink"):
    watched(name)
with ScoreStore(Path(sys.argv[1]), CONTEXT) as store:
    store.get([key(number) for number in range(int(sys.argv[3]))])
"""


def test_a_process_that_ends_between_two_steps_of_replacing_the_file(tmp_path, broken):
    path = tmp_path / "scores.db"
    n = salvageable(path, broken)
    is_interrupted, n_steps, n_finished = True, 0, 0
    while is_interrupted:
        clear(path)
        path.write_bytes(broken)
        done = subprocess.run(
            [sys.executable, "-c", EXIT_AT, str(path), str(n_steps), str(N_ROWS)],
            env=ENVIRONMENT, capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode in (0, 9), done.stderr
        is_interrupted = done.returncode == 9
        n_steps += 1
        n_finished += not path.exists()
        with ScoreStore(path, CONTEXT) as store:
            assert len(store.get([key(number) for number in range(N_ROWS)])) == n
            assert verify(store).removed == 0
        names = {file.name for file in tmp_path.iterdir()}
        assert not names & {aside(path).name, aside(path, ".building").name, "scores.db-wal"}
        assert any(".damaged-" in name for name in names)
    assert n_steps > 6
    assert n_finished >= 3


def test_a_part_that_was_left_beside_a_file_goes(tmp_path):
    path = tmp_path / "scores.db"
    filled(path, 10)
    shutil.copy(path, aside(path))
    with ScoreStore(path, CONTEXT):
        assert not (aside(path)).exists()
    path.unlink()
    with ScoreStore(path, CONTEXT) as store:
        assert store.get([key(0)]) == {}


def test_a_disk_that_gets_full_while_the_file_is_replaced(tmp_path, broken):
    n = salvageable(tmp_path / "scores.db", broken)
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(disk)], capture_output=True
    )
    if mounted.returncode:
        pytest.skip("may not mount")
    path, wanted = disk / "scores.db", [key(number) for number in range(N_ROWS)]
    outcomes, refused = [], []
    try:
        for free in (*range(0, 80_000, 8192), *range(100_000, 3_200_000, 160_000)):
            for file in disk.iterdir():
                file.unlink()
            path.write_bytes(broken)
            space = os.statvfs(disk)
            (disk / "ballast").write_bytes(bytes(space.f_bavail * space.f_frsize - free))
            try:
                with ScoreStore(path, CONTEXT) as store:
                    found = len(store.get(wanted))
                assert found == n
                outcomes.append(True)
            except StoreError as error:
                refused.append(str(error))
                outcomes.append(False)
            assert not (disk / "scores.db.building").exists()
            (disk / "ballast").unlink()
            with ScoreStore(path, CONTEXT) as store:
                assert len(store.get(wanted)) == n
                assert verify(store).removed == 0
    finally:
        subprocess.run(["umount", str(disk)], check=True)
    assert outcomes == sorted(outcomes)
    assert {*outcomes} == {True, False}
    assert all("free room" in message for message in refused)


@pytest.mark.slow
def test_a_process_that_is_killed_while_it_replaces_the_file(tmp_path, broken):
    path, chance = tmp_path / "scores.db", random.Random(3)
    server = Server(path)
    right = scores(range(N_ROWS))
    n = salvageable(path, broken)
    for seed in range(25):
        clear(path)
        path.write_bytes(broken)
        pid = server.start_writer(seed)
        time.sleep(chance.uniform(0, 0.12))
        os.kill(pid, signal.SIGKILL)
        stored = {key(number) for number in server.stored()}
        with ScoreStore(path, CONTEXT) as store:
            found = store.get([key(number) for number in range(N_WRITTEN)])
            assert stored <= found.keys()
            assert len(found.keys() & right.keys()) >= n
            assert all(v == scores(range(1))[k] for k, v in found.items() if k == key(0))
            assert {k: found[k] for k in found.keys() & right.keys()}.items() <= right.items()
            assert verify(store).removed == 0
    server.close()
