"""Where the score store cannot be used or written: what it says, and that nothing is lost."""

import os
import sqlite3
import stat
import subprocess
from pathlib import Path

import pytest
from filelock import FileLock
from store_helpers import CONTEXT, RIGHT, filled, in_process, key, score_of, scores, sql

from gradgate.errors import StoreError
from gradgate.scoring.store import scores as store_module
from gradgate.scoring.store.file import files_set_aside
from gradgate.scoring.store.scores import ScoreStore
from gradgate.scoring.store.upkeep import verify


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "scores.db"


def test_a_newer_version_is_left_alone(path):
    filled(path, 5)
    sql(path, "PRAGMA user_version = 4")
    before = path.read_bytes()
    with pytest.raises(StoreError, match=r"scores\.db has version 4.*update gradgate"):
        ScoreStore(path, CONTEXT)
    assert path.read_bytes() == before


KINDS = ["text", "short text", "sqlite", "application", "broken sqlite"]


def write_other(path: Path, kind: str) -> bytes:
    """Something else than a store."""
    if "text" in kind:
        path.write_text("a,b\n1,2\n" * (100 if kind == "text" else 1))
    else:
        sql(path, "CREATE TABLE theirs (x)")
        if kind != "sqlite":
            sql(path, "PRAGMA application_id = 7")
        if kind == "broken sqlite":
            path.write_bytes(path.read_bytes()[:4096] + b"x" * 4096)
    return path.read_bytes()


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_of_somebody_else_is_left_alone(path, kind):
    before = write_other(path, kind)
    with pytest.raises(StoreError, match=r"scores\.db is not a score store .* left as it is"):
        ScoreStore(path, CONTEXT)
    assert path.read_bytes() == before
    assert {f.name for f in path.parent.iterdir()} <= {"scores.db", "scores.db.lock"}


@pytest.mark.parametrize("kind", [*KINDS, "first page lost"])
def test_the_store_of_the_state_folder_never_stops_a_run(fresh_state, kind):
    fresh_state.mkdir()
    path = fresh_state / "scores.db"
    if kind == "first page lost":
        filled(path, 5)
        path.write_bytes(b"x" * 4096 + path.read_bytes()[4096:])
        before = path.read_bytes()
    else:
        before = write_other(path, kind)
    with ScoreStore(path, CONTEXT) as store:
        assert store.get([key(0)]) == {}
        store.put({key(0): score_of(key(0))})
    (aside,) = files_set_aside(path)
    assert aside.read_bytes() == before
    with ScoreStore(path, CONTEXT) as store:
        assert len(store.get([key(0)])) == 1


def test_a_place_where_no_file_can_be(tmp_path):
    (tmp_path / "scores.db").mkdir()
    (tmp_path / "file").touch()
    for place in (tmp_path / "scores.db", tmp_path / "file" / "scores.db"):
        with pytest.raises(StoreError, match=r"scores\.db cannot be used.*writable"):
            ScoreStore(place, CONTEXT)


READ_ONLY = """
    import os, sys
    from store_helpers import CONTEXT, Path, ScoreStore
    from gradgate.errors import StoreError
    if os.getuid() == 0:
        os.setuid(65534)  # root may write everywhere
    try:
        ScoreStore(Path(sys.argv[1]), CONTEXT)
    except StoreError as error:
        print(error)
"""


@pytest.mark.parametrize("is_there", [True, False])
def test_a_folder_that_cannot_be_written(tmp_path_factory, is_there):
    folder = tmp_path_factory.mktemp("locked")
    for parent in list(folder.parents)[:3]:
        if parent != Path("/tmp") and parent.stat().st_uid == os.getuid():
            parent.chmod(parent.stat().st_mode | stat.S_IXOTH)
    if is_there:
        filled(folder / "scores.db", 3)
    folder.chmod(0o555)
    done = in_process(READ_ONLY, folder / "scores.db")
    folder.chmod(0o755)
    assert "writable" in done.stdout, done.stderr


FILL = """
    import resource, sys
    from store_helpers import CONTEXT, Path, ScoreStore, key, scores
    from gradgate.errors import StoreError
    limit = int(sys.argv[2])
    if limit:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    n = 0
    try:
        with ScoreStore(Path(sys.argv[1]), CONTEXT) as store:
            while True:
                store.put(scores(range(n, n + 200)))
                n += 200
    except StoreError as error:
        print(n, error)
"""


def check_full(path: Path, done: subprocess.CompletedProcess[str], first: int = 1) -> None:
    assert done.returncode == 0, done.stderr
    n, message = done.stdout.split(" ", 1)
    assert int(n) >= first
    assert "what was stored before is kept; free room on the disk" in message
    with ScoreStore(path, CONTEXT) as store:
        assert store.get([key(i) for i in range(int(n) + 200)]) == scores(range(int(n)))
        assert store.set_aside is None
        assert verify(store).whole == int(n)


@pytest.mark.parametrize("limit", [2_000, 400_000, 1_000_000, 5_000_000])
def test_a_full_quota_keeps_what_was_stored(path, limit):
    check_full(path, in_process(FILL, path, limit), first=0 if limit == 2_000 else 1)
    with ScoreStore(path, CONTEXT) as store:
        store.put(scores(range(50_000, 52_000)))
        assert store.get([key(50_000)]) == scores(range(50_000, 50_001))


def test_a_full_disk_keeps_what_was_stored(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(disk)], capture_output=True
    )
    if mounted.returncode:
        pytest.skip("may not mount")
    try:
        (disk / "ballast").write_bytes(bytes(500_000))
        check_full(disk / "scores.db", in_process(FILL, disk / "scores.db", 0))
        (disk / "ballast").unlink()
        with ScoreStore(disk / "scores.db", CONTEXT) as store:
            store.put(scores(range(50_000, 50_050)))
            assert store.get([key(50_000)]) == scores(range(50_000, 50_001))
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_a_file_that_may_not_grow(path):
    content = filled(path, 100)
    with ScoreStore(path, CONTEXT) as store:
        store._connection.execute("PRAGMA max_page_count = 20")
        with pytest.raises(StoreError, match="free room"):
            store.put(scores(range(100, 5000)))
        assert store.get([key(i) for i in range(5000)]) == content
        store._connection.execute("PRAGMA max_page_count = 100000")
        store.put(scores(range(100, 5000)))
        assert store.get([key(4999)]) == {key(4999): score_of(key(4999))}


def test_a_busy_file_is_told_apart(path, monkeypatch):
    filled(path, 1)
    monkeypatch.setattr("gradgate.scoring.store.schema.BUSY_SECONDS", 0.2)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with ScoreStore(path, CONTEXT) as store:
        assert store.get([key(0)]) == scores(range(1))  # readers do not wait
        with pytest.raises(StoreError, match="another process"):
            store.put({key(1): RIGHT})
    other.close()


@pytest.mark.parametrize("why", ["busy", "full", "disk I/O"])
def test_a_row_that_cannot_be_marked_is_read_all_the_same(path, monkeypatch, caplog, why):
    content = filled(path, 2000)
    sql(path, "UPDATE scores SET used = 100, record = zeroblob(60) WHERE key = ?", key(7))
    sql(path, "UPDATE scores SET used = 100")
    del content[key(7)]
    monkeypatch.setattr("gradgate.scoring.store.schema.BUSY_SECONDS", 0.1)
    other = sqlite3.connect(path, isolation_level=None)
    if why == "busy":
        other.execute("BEGIN IMMEDIATE")
    with ScoreStore(path, CONTEXT) as store:
        if why != "busy":

            def fail(*_: object) -> None:
                error = sqlite3.OperationalError(why)
                error.sqlite_errorcode = (
                    sqlite3.SQLITE_FULL if why == "full" else sqlite3.SQLITE_IOERR_WRITE
                )
                raise error

            monkeypatch.setattr(store_module, "remove", fail)
        for _ in range(3):
            assert store.get([*content, key(7)]) == content
    other.close()
    assert sum("cannot be marked" in record.message for record in caplog.records) == 1
    assert sql(path, "SELECT DISTINCT used FROM scores") == [(100,)]


def test_eviction_locks_nothing_when_the_rows_fit(path, monkeypatch):
    filled(path, 100)
    monkeypatch.setattr("gradgate.scoring.store.schema.BUSY_SECONDS", 0.1)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with ScoreStore(path, CONTEXT) as store:
        assert store.evict(10**6) == 0
        with pytest.raises(StoreError, match="another process"):
            store.evict(0)
    other.close()


def test_another_process_mends_the_store(path, monkeypatch):
    monkeypatch.setattr("gradgate.scoring.store.file.LOCK_SECONDS", 0.1)
    with FileLock(f"{path}.lock"), pytest.raises(StoreError, match="been mending it") as caught:
        ScoreStore(path, CONTEXT)
    assert "folder" not in str(caught.value)
