"""What the score store keeps, gives back, and refuses."""

import os
import sqlite3
import stat
import struct
import subprocess
import sys
import textwrap
from dataclasses import fields, replace
from pathlib import Path

import pytest
from filelock import FileLock
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from store_helpers import CONTEXT, filled, key, score_of, scores

from gradgate.errors import StoreError
from gradgate.scoring.table import Score
from gradgate.store import scores as store_module
from gradgate.store.file import StoreFile
from gradgate.store.row import decode, encode
from gradgate.store.scores import ScoreStore
from gradgate.store.upkeep import verify

RIGHT = Score(0.5, 3, 1.25, 2.5, "scored", None)
FAILED = Score(None, 3, None, None, "failed", "the gradient vanishes")

floats = st.one_of(st.none(), st.floats())
texts = st.one_of(st.none(), st.text(st.characters(codec=None)))  # lone surrogates too
failed_scores = st.builds(
    Score, floats, st.integers(0, 2**31 - 1), floats, floats, st.just("failed"), texts
)
finite = st.floats(allow_nan=False, allow_infinity=False)
good_scores = st.builds(
    Score, finite, st.integers(0, 2**31 - 1), finite, finite, st.just("scored"), texts
)


def bits(score: Score) -> tuple[object, ...]:
    values = (score.spectral_entropy, score.loss, score.gradient_norm)
    exact = tuple(None if v is None else struct.pack("<d", v) for v in values)
    return (*exact, score.n_target_tokens, score.status, score.reason)


def sql(path: Path, statement: str, *values: object) -> list[tuple[object, ...]]:
    connection = sqlite3.connect(path)
    with connection:
        rows = connection.execute(statement, values).fetchall()
    connection.close()
    return rows


def in_process(code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent)},
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "scores.db"


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.one_of(good_scores, failed_scores), min_size=1, max_size=20))
def test_every_bit_comes_back(tmp_path_factory, values):
    content = {key(number): value for number, value in enumerate(values)}
    path = tmp_path_factory.mktemp("store") / "scores.db"
    with ScoreStore(path, CONTEXT) as store:
        store.put(content)
    with ScoreStore(path, CONTEXT) as store:
        found = store.get(list(content))
    assert {k: bits(v) for k, v in found.items()} == {k: bits(v) for k, v in content.items()}


@pytest.mark.parametrize("wrong", [None, float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("name", ["spectral_entropy", "loss", "gradient_norm"])
def test_a_scored_row_has_finite_values(path, name, wrong):
    with ScoreStore(path, CONTEXT) as store:
        with pytest.raises(ValueError, match="finite"):
            store.put({key(0): RIGHT, key(1): replace(RIGHT, **{name: wrong})})
        assert store.get([key(0), key(1)]) == {}


def test_a_key_is_a_digest(path):
    with ScoreStore(path, CONTEXT) as store, pytest.raises(ValueError, match="32 bytes"):
        store.put({b"short": RIGHT})


def test_unknown_and_repeated_keys_and_many(path):
    content = filled(path, 2500)
    with ScoreStore(path, CONTEXT) as store:
        assert store.get([]) == {}
        assert store.get([key(-1)]) == {}
        assert store.get([*content, key(-1), *content]) == content
        store.put({})


def test_the_first_score_stays_and_a_failure_gives_way(path):
    other = replace(RIGHT, loss=9.0)
    with ScoreStore(path, CONTEXT) as first, ScoreStore(path, CONTEXT) as second:
        first.put({key(0): FAILED, key(1): RIGHT, key(2): FAILED})
        second.put({key(0): other, key(1): other, key(2): replace(FAILED, reason="again")})
        first.put({key(0): RIGHT, key(1): FAILED})
        assert first.get([key(0), key(1), key(2)]) == {
            key(0): other,
            key(1): RIGHT,
            key(2): replace(FAILED, reason="again"),
        }


@pytest.mark.parametrize(
    "edit",
    [
        "UPDATE scores SET record = substr(record, 1, 12) || x'00' || substr(record, 14)",
        "UPDATE scores SET record = substr(record, 1, 20)",
        "UPDATE scores SET record = x''",
        "UPDATE scores SET record = 'zoë'",
        "UPDATE scores SET record = 17",
    ],
)
def test_an_edited_row_is_a_miss_and_goes(path, edit, caplog):
    content = filled(path, 20)
    damaged = [key(3), key(4)]
    for one in damaged:
        sql(path, f"{edit} WHERE key = ?", one)
    with ScoreStore(path, CONTEXT) as store:
        assert store.get(list(content)) == {k: v for k, v in content.items() if k not in damaged}
        assert store.n_damaged == 2
        sql(path, "UPDATE scores SET record = x'00' WHERE key = ?", key(5))
        assert key(5) not in store.get(list(content))
        assert store.n_damaged == 3
        assert len([r for r in caplog.records if "damaged" in r.message]) == 1
        assert sql(path, "SELECT count(*) FROM scores") == [(17,)]
        store.put(content)
        assert store.get(list(content)) == content


def test_put_replaces_a_damaged_row(path):
    filled(path, 1)
    sql(path, "UPDATE scores SET record = zeroblob(60)")
    with ScoreStore(path, CONTEXT) as store:
        store.put({key(0): RIGHT})
        assert store.get([key(0)]) == {key(0): RIGHT}


def test_a_row_of_another_sample_is_a_miss(path):
    filled(path, 1)
    sql(path, "UPDATE scores SET key = ?", key(1))
    with ScoreStore(path, CONTEXT) as store:
        assert store.get([key(0), key(1)]) == {}


CHANGED = {
    "model_sha256": "b" * 64,
    "model_revision": "None",
    "adapter_sha256": "a" * 64,
    "mode": "full",
    "k": 8,
    "dtype": "bfloat16",
    "maths": 2,
}


@pytest.mark.parametrize("name", CHANGED)
def test_another_context_never_sees_the_rows(path, name):
    other = replace(CONTEXT, **{name: CHANGED[name]})
    content = filled(path, 30, other)
    with ScoreStore(path, CONTEXT) as store:
        assert store.get(list(content)) == {}
        sql(path, "UPDATE scores SET context = ?", CONTEXT.id)
        assert store.get(list(content)) == {}
        assert store.n_damaged == 30
        store.put({k: RIGHT for k in content})
    with ScoreStore(path, other) as store:
        assert store.get(list(content)) == {}


def test_what_decides_and_what_only_describes():
    names = {field.name for field in fields(CONTEXT)}
    assert names == {*CHANGED, "model_path", "adapter"}
    assert replace(CONTEXT, model_path="x", adapter="y").digest == CONTEXT.digest
    assert len({replace(CONTEXT, **{n: v}).digest for n, v in CHANGED.items()}) == len(CHANGED)
    shifted = replace(CONTEXT, mode='crop", 1', dtype="6")
    assert shifted.digest != replace(CONTEXT, mode="crop", dtype='1", 6').digest
    assert len(CONTEXT.digest) == 32


def test_a_record_is_bound_to_every_bit_of_key_and_context():
    record = encode(CONTEXT, key(0), RIGHT)
    assert decode(CONTEXT, key(0), record) == RIGHT
    for position in range(len(record) * 8):
        changed = bytearray(record)
        changed[position // 8] ^= 1 << position % 8
        assert decode(CONTEXT, key(0), bytes(changed)) is None
    assert decode(CONTEXT, key(1), record) is None
    assert decode(replace(CONTEXT, k=4), key(0), record) is None


def test_get_marks_a_row_as_used_once_a_day(path, monkeypatch):
    content = filled(path, 10)
    with ScoreStore(path, CONTEXT) as store:
        monkeypatch.setattr(store_module, "today", lambda: 20_500)
        half = list(content)[:5]
        assert store.get(half) == {k: content[k] for k in half}
        version = sql(path, "PRAGMA data_version")
        before = store._connection.total_changes
        store.get(half)
        assert store._connection.total_changes == before
        assert sql(path, "PRAGMA data_version") == version
    used = sql(path, "SELECT used, count(*) FROM scores GROUP BY used ORDER BY used")
    assert (20_500, 5) in used
    assert len(used) == 2


def test_eviction_takes_the_least_recently_used_of_any_model(path, monkeypatch):
    other = replace(CONTEXT, k=8)
    for day, context in ((100, CONTEXT), (101, other), (102, CONTEXT), (103, other)):
        monkeypatch.setattr(store_module, "today", lambda day=day: day)
        with ScoreStore(path, context) as store:
            store.put({key(day * 1000 + i): RIGHT for i in range(1000)})
    with ScoreStore(path, CONTEXT) as store:
        assert store.evict(10**9) == 0
        size = 4000 * 106
        assert store.evict(size) == 0
        assert store.evict(size - 1) == 1
        assert store.evict(int(size * 0.4)) == 2399
        days = sql(path, "SELECT used, count(*) FROM scores GROUP BY used ORDER BY used")
        assert days == [(102, 600), (103, 1000)]
        assert store.evict(0) == 1600
        store.put({key(n): replace(FAILED, reason="x" * 10 * n) for n in range(500)})
        assert 0 < store.evict(200_000) < 500  # rows of one day and of many sizes
        assert sql(path, "SELECT sum(length(record) + 56) <= 200000 FROM scores") == [(1,)]


def test_a_newer_version_is_left_alone(path):
    filled(path, 5)
    sql(path, "PRAGMA user_version = 2")
    before = path.read_bytes()
    with pytest.raises(StoreError, match=r"scores\.db has version 2.*update gradgate"):
        ScoreStore(path, CONTEXT)
    assert path.read_bytes() == before


@pytest.mark.parametrize("kind", ["text", "short text", "sqlite", "application", "broken sqlite"])
def test_a_file_of_somebody_else_is_left_alone(path, kind):
    if "text" in kind:
        path.write_text("a,b\n1,2\n" * (100 if kind == "text" else 1))
    else:
        sql(path, "CREATE TABLE theirs (x)")
        if kind != "sqlite":
            sql(path, "PRAGMA application_id = 7")
        if kind == "broken sqlite":
            path.write_bytes(path.read_bytes()[:4096] + b"x" * 4096)
    before = path.read_bytes()
    with pytest.raises(StoreError, match=r"scores\.db is not a score store .* left as it is"):
        ScoreStore(path, CONTEXT)
    assert path.read_bytes() == before
    assert {f.name for f in path.parent.iterdir()} <= {"scores.db", "scores.db.lock"}


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


@pytest.mark.parametrize("limit", [2_000, 100_000, 500_000, 5_000_000])
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
            store.put(scores(range(50_000, 50_200)))
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
    monkeypatch.setattr("gradgate.store.file._BUSY_SECONDS", 0.2)
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
    monkeypatch.setattr("gradgate.store.file._BUSY_SECONDS", 0.1)
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


def test_a_look_up_describes_the_context_again(path):
    content = filled(path, 5)
    line = sql(path, "SELECT fields FROM contexts")
    for damage in ("UPDATE contexts SET fields = '{}'", "DELETE FROM contexts"):
        sql(path, damage)
        with ScoreStore(path, CONTEXT) as store:
            assert store.get([key(-1)]) == {}
            assert sql(path, "SELECT fields FROM contexts") != line
            assert store.get(list(content)) == content
        assert sql(path, "SELECT fields FROM contexts") == line


def test_eviction_locks_nothing_when_the_rows_fit(path, monkeypatch):
    filled(path, 100)
    monkeypatch.setattr("gradgate.store.file._BUSY_SECONDS", 0.1)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with ScoreStore(path, CONTEXT) as store:
        assert store.evict(10**6) == 0
        with pytest.raises(StoreError, match="another process"):
            store.evict(0)
    other.close()


def test_commits_are_forced_to_the_disk(path):
    with ScoreStore(path, CONTEXT) as store:
        assert store._connection.execute("PRAGMA synchronous").fetchone() == (2,)


def test_another_process_mends_the_store(path, monkeypatch):
    monkeypatch.setattr("gradgate.store.file._LOCK_SECONDS", 0.1)
    with FileLock(f"{path}.lock"), pytest.raises(StoreError, match="been mending it") as caught:
        ScoreStore(path, CONTEXT)
    assert "folder" not in str(caught.value)


def test_a_link_shares_the_lock_of_its_file(path, tmp_path):
    content = filled(path, 3)
    link = tmp_path / "elsewhere" / "link.db"
    link.parent.mkdir()
    link.symlink_to(path)
    with ScoreStore(link, CONTEXT) as store:
        assert store.get(list(content)) == content
    assert [file.name for file in link.parent.iterdir()] == ["link.db"]
    link.unlink()
    link.symlink_to(link)
    with pytest.raises(StoreError, match="cannot be used"):
        ScoreStore(link, CONTEXT)


def test_the_file_may_be_removed_while_it_is_open(path):
    with ScoreStore(path, CONTEXT) as store, ScoreStore(path, CONTEXT) as other:
        store.put({key(0): RIGHT})
        for file in path.parent.iterdir():
            file.unlink()
        assert store.get([key(0)]) == {}
        store.put({key(1): RIGHT})
        assert other.get([key(0), key(1)]) == {key(1): RIGHT}


WRITE = """
    import sys
    from store_helpers import CONTEXT, Path, ScoreStore, scores
    start, step = int(sys.argv[2]), int(sys.argv[3])
    with ScoreStore(Path(sys.argv[1]), CONTEXT) as store:
        for first in range(start, start + 3000, step):
            batch = scores(range(first, first + step))
            assert store.get(list(batch)).items() <= batch.items()
            store.put(batch)
            assert store.get(list(batch)) == batch
"""


def test_processes_share_the_file(path):
    """Starts 0 and 1000 share keys; the file does not exist when they start."""
    running = [
        subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(WRITE), path, str(start), str(step)],
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parent)},
            stderr=subprocess.PIPE,
        )
        for start, step in [(0, 10), (0, 30), (1000, 15), (10_000, 20)]
    ]
    for process in running:
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors
    expected = scores(range(4000)) | scores(range(10_000, 13_000))
    with ScoreStore(path, CONTEXT) as store:
        assert store.get(list(expected)) == expected
        assert verify(store).whole == 7000
        assert store.set_aside is None


def test_the_module_is_light():
    code = "import sys, gradgate.store.scores, gradgate.store.upkeep; print(*sys.modules)"
    loaded = set(in_process(code).stdout.split())
    assert not loaded & {"torch", "transformers", "pandas", "datasets", "scipy", "peft"}


def test_upkeep_needs_no_context(path):
    content = filled(path, 30)
    with StoreFile(path) as opened:
        assert verify(opened).whole == len(content)
