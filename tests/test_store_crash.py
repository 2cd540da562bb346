"""Killed writers and damaged files: what comes back is right, whatever happened."""

import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from store_helpers import CONTEXT, filled, key, scores

from gradgate.errors import StoreError
from gradgate.store.file import StoreFile
from gradgate.store.scores import ScoreStore
from gradgate.store.upkeep import verify

N_ROWS = 600
TESTS = Path(__file__).parent


class Server:
    """Forks writers, so that none has to import anything before it can be killed."""

    def __init__(self, path: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", "import sys, store_helpers; store_helpers.serve(sys.argv[1])",
             str(path)],
            env={**os.environ, "PYTHONPATH": str(TESTS)},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def start_writer(self, seed: int) -> int:
        """The pid."""
        self.process.stdin.write(f"{seed}\n")
        self.process.stdin.flush()
        self.lines = []
        while not self.lines or not self.lines[-1].startswith("pid"):
            self.lines.append(self.process.stdout.readline())
        return int(self.lines.pop().split()[1])

    def stored(self) -> set[int]:
        """What the writer, which is dead, has said to be stored."""
        for line in iter(self.process.stdout.readline, "dead\n"):
            self.lines.append(line)
        ranges = [line.split()[1:] for line in self.lines]
        return {number for start, end in ranges for number in range(int(start), int(end))}

    def close(self) -> None:
        self.process.stdin.close()
        assert self.process.wait(timeout=20) == 0


@pytest.mark.slow
def test_writers_that_are_killed_lose_nothing(tmp_path):
    path = tmp_path / "scores.db"
    servers = [Server(path), Server(path)]
    chance = random.Random(7)
    everything = [key(number) for number in range(20_300)]
    right = scores(range(20_300))
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
        found = verify(store)
    assert (found.whole, found.removed, found.set_aside) == (n_found, 0, None)
    assert n_found > 1000  # or nothing was tested


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("original") / "scores.db"
    filled(path, N_ROWS)
    return path


@pytest.fixture(scope="module")
def with_wal(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Half of the rows are in the file, all of them in it and its -wal."""
    folder = tmp_path_factory.mktemp("wal")
    filled(folder / "open.db", N_ROWS // 2)
    with ScoreStore(folder / "open.db", CONTEXT) as store:
        for start in range(N_ROWS // 2, N_ROWS, 50):
            store.put(scores(range(start, start + 50)))
        shutil.copy(folder / "open.db", folder / "scores.db")
        shutil.copy(folder / "open.db-wal", folder / "scores.db-wal")
    return folder / "scores.db"


def check(path: Path) -> int:
    """Only right rows, room for new ones, and whole in the end; how many rows were left."""
    right = scores(range(N_ROWS))
    with ScoreStore(path, CONTEXT) as store, ScoreStore(path, CONTEXT) as other:
        found = store.get(list(right))
        assert found.items() <= right.items()
        store.put(right)
        assert store.get(list(right)).items() <= right.items()
        verify(store)  # finds what a look-up does not
        store.put(right)
        assert store.get(list(right)) == right
        assert other.get(list(right)) == right
        assert verify(other).whole == N_ROWS
        assert verify(store).removed == 0
    return len(found)


def clear(path: Path) -> None:
    for file in path.parent.glob(f"{path.name}*"):
        file.unlink()


def damaged(path: Path, original: Path, change: Callable[[bytearray], object]) -> None:
    clear(path)
    content = bytearray(original.read_bytes())
    change(content)
    path.write_bytes(content)


@pytest.mark.parametrize("part", ["start", "pages", "anywhere"])
def test_a_file_that_was_cut_off(tmp_path, original, part):
    path, size = tmp_path / "scores.db", original.stat().st_size
    chance = random.Random(part)
    offsets = {
        "start": [0, 1, 15, 16, 17, 50, 62, 70, 72, 99, 100, 101, 110, 511, 512, 4095],
        "pages": range(4096, size, 4096),
        "anywhere": [chance.randrange(size) for _ in range(15)],
    }
    left = []
    for offset in offsets[part]:
        damaged(path, original, lambda content, end=offset: content.__delitem__(slice(end, None)))
        left.append(check(path))
    assert part == "start" or max(left) > N_ROWS / 2  # the salvage does save rows


def test_bits_that_changed(tmp_path, original):
    path = tmp_path / "scores.db"
    left = []
    for seed in range(60):
        chance = random.Random(seed)

        def change(content: bytearray, chance: random.Random = chance) -> None:
            for _ in range(chance.choice([1, 2, 8, 40, 200])):
                content[chance.randrange(100, len(content))] ^= 1 << chance.randrange(8)

        damaged(path, original, change)
        left.append(check(path))
    assert sum(left) > 30 * N_ROWS


def test_pages_that_are_wrong(tmp_path, original):
    path = tmp_path / "scores.db"
    n_pages = original.stat().st_size // 4096
    for page in range(n_pages):
        chance = random.Random(page)

        def change(content: bytearray, page: int = page, chance: random.Random = chance) -> None:
            other = chance.randrange(1, n_pages) * 4096
            fill = [bytes(4096), chance.randbytes(4096), bytes(content[other : other + 4096])]
            kind = 0 if page == 0 else chance.randrange(3)  # a file without its header is not ours
            content[page * 4096 : (page + 1) * 4096] = fill[kind]

        damaged(path, original, change)
        check(path)


def test_a_store_that_is_blank(tmp_path, original):
    path = tmp_path / "scores.db"
    damaged(path, original, lambda content: content.__setitem__(slice(None), bytes(len(content))))
    assert check(path) == 0


def test_the_damaged_file_is_kept_and_rows_of_all_models_are_saved(tmp_path, original, caplog):
    path = tmp_path / "scores.db"
    damaged(path, original, lambda content: content.__delitem__(slice(-9000, None)))
    before = path.read_bytes()
    with ScoreStore(path, CONTEXT) as store:
        assert store.set_aside is not None
        assert store.set_aside.read_bytes() == before
        n = len(store.get([key(number) for number in range(N_ROWS)]))
        assert n > N_ROWS / 2
        assert f"{n} rows were saved" in caplog.text
    assert sorted(f.name for f in tmp_path.iterdir()) == [
        "scores.db", store.set_aside.name, f"{store.set_aside.name}-wal", "scores.db.lock"
    ]  # fmt: skip


def test_a_wal_that_was_cut_off_or_changed(tmp_path, with_wal):
    path, wal = tmp_path / "scores.db", tmp_path / "scores.db-wal"
    content = with_wal.with_name("scores.db-wal").read_bytes()
    left = set()
    for seed in range(40):
        chance = random.Random(seed)
        clear(path)
        shutil.copy(with_wal, path)
        changed = bytearray(content[: chance.randrange(len(content))] if seed % 2 else content)
        for _ in range(0 if seed % 2 else chance.choice([1, 5])):
            changed[chance.randrange(len(changed))] ^= 255
        wal.write_bytes(changed)
        left.add(check(path))
    assert min(left) >= N_ROWS // 2  # what was written back is not touched
    assert len(left) > 3


def test_a_wal_that_is_missing(tmp_path, with_wal):
    shutil.copy(with_wal, tmp_path / "scores.db")
    assert check(tmp_path / "scores.db") == N_ROWS // 2


def test_a_wal_without_its_file(tmp_path, with_wal):
    path = tmp_path / "scores.db"
    for size in (None, 0, 10, 100, 4096, 5000, 20_000):
        clear(path)
        shutil.copy(with_wal.with_name("scores.db-wal"), tmp_path / "scores.db-wal")
        if size is not None:
            path.write_bytes(with_wal.read_bytes()[:size])
        check(path)


def test_a_wal_of_another_store(tmp_path, with_wal, original):
    shutil.copy(original, tmp_path / "scores.db")
    shutil.copy(with_wal.with_name("scores.db-wal"), tmp_path / "scores.db-wal")
    check(tmp_path / "scores.db")


def test_damage_while_two_have_it_open(tmp_path):
    path = tmp_path / "scores.db"
    right = filled(path, 20_000)
    with ScoreStore(path, CONTEXT) as store, ScoreStore(path, CONTEXT) as other:
        assert len(other.get([key(0)])) == 1
        with path.open("r+b") as file:  # not closed: that would drop SQLite's locks
            file.seek(3 * 4096)
            file.write(os.urandom(300 * 4096))
            file.flush()
            assert store.get(list(right)).items() <= right.items()
            store.put(right)
            assert other.get(list(right)).items() <= right.items()
            other.put(right)
            assert store.get(list(right)) == right
        assert [store.set_aside is None, other.set_aside is None].count(False) == 1
        assert verify(other).whole == 20_000


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
            [sys.executable, "-c", MEND, str(path)], env={**os.environ, "PYTHONPATH": str(TESTS)},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for _ in range(4)
    ]  # fmt: skip
    replaced = []
    for process in running:
        process.stdin.write("go\n")
        process.stdin.flush()
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
    """A file of 5000 rows of which pages are blank."""
    path = tmp_path_factory.mktemp("broken") / "scores.db"
    filled(path, 5000)
    content = bytearray(path.read_bytes())
    content[4096 * 5 : 4096 * 20] = bytes(4096 * 15)
    return bytes(content)


def salvageable(path: Path, broken: bytes) -> int:
    clear(path)
    path.write_bytes(broken)
    with ScoreStore(path, CONTEXT) as store:
        n = len(store.get([key(number) for number in range(5000)]))
    clear(path)
    assert 4000 < n < 5000
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
    store.get([key(number) for number in range(5000)])
"""


def test_a_process_that_ends_between_two_steps_of_replacing_the_file(tmp_path, broken):
    path = tmp_path / "scores.db"
    n = salvageable(path, broken)
    is_interrupted, n_steps, n_finished = True, 0, 0
    while is_interrupted:
        clear(path)
        path.write_bytes(broken)
        done = subprocess.run(
            [sys.executable, "-c", EXIT_AT, str(path), str(n_steps)],
            env={**os.environ, "PYTHONPATH": str(TESTS)}, capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode in (0, 9), done.stderr
        is_interrupted = done.returncode == 9
        n_steps += 1
        n_finished += not path.exists()
        with ScoreStore(path, CONTEXT) as store:
            assert len(store.get([key(number) for number in range(5000)])) == n
            assert verify(store).removed == 0
        names = {file.name for file in tmp_path.iterdir()}
        assert not names & {"scores.db.part", "scores.db.building", "scores.db-wal"}
        assert any(".damaged-" in name for name in names)
    assert n_steps > 6
    assert n_finished >= 3


def test_a_part_that_was_left_beside_a_file_goes(tmp_path):
    path = tmp_path / "scores.db"
    filled(path, 10)
    shutil.copy(path, tmp_path / "scores.db.part")
    with ScoreStore(path, CONTEXT):
        assert not (tmp_path / "scores.db.part").exists()
    path.unlink()
    with ScoreStore(path, CONTEXT) as store:
        assert store.get([key(0)]) == {}


def test_a_disk_that_gets_full_while_the_file_is_replaced(tmp_path, broken):
    n = salvageable(tmp_path / "scores.db", broken)
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(disk)], capture_output=True
    )
    if mounted.returncode:
        pytest.skip("may not mount")
    path, wanted = disk / "scores.db", [key(number) for number in range(5000)]
    outcomes, refused = [], []
    try:
        for free in (*range(0, 80_000, 8192), *range(100_000, 1_700_000, 100_000)):
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


def test_rows_without_a_description_outlive_a_salvage_without_their_model(tmp_path, original):
    path = tmp_path / "scores.db"
    shutil.copy(original, path)
    connection = sqlite3.connect(path)
    with connection:
        connection.execute("UPDATE contexts SET fields = '{}'")
    connection.close()
    content = bytearray(path.read_bytes())
    content[4096 * 5 : 4096 * 7] = bytes(2 * 4096)
    path.write_bytes(content)
    with StoreFile(path) as opened:
        found = verify(opened)
    assert found.set_aside is not None
    assert found.removed == found.whole == 0
    assert found.undescribed > N_ROWS / 2
    with ScoreStore(path, CONTEXT) as store:
        assert len(store.get([key(number) for number in range(N_ROWS)])) == found.undescribed
        assert verify(store).whole == found.undescribed  # the look-up has described them again


@pytest.mark.slow
def test_a_process_that_is_killed_while_it_replaces_the_file(tmp_path, broken):
    path, chance = tmp_path / "scores.db", random.Random(3)
    server = Server(path)
    right = scores(range(5000))
    n = salvageable(path, broken)
    for seed in range(25):
        clear(path)
        path.write_bytes(broken)
        pid = server.start_writer(seed)
        time.sleep(chance.uniform(0, 0.12))
        os.kill(pid, signal.SIGKILL)
        stored = {key(number) for number in server.stored()}
        with ScoreStore(path, CONTEXT) as store:
            found = store.get([key(number) for number in range(20_300)])
            assert stored <= found.keys()
            assert len(found.keys() & right.keys()) >= n
            assert all(v == scores(range(1))[k] for k, v in found.items() if k == key(0))
            assert {k: found[k] for k in found.keys() & right.keys()}.items() <= right.items()
            assert verify(store).removed == 0
    server.close()
