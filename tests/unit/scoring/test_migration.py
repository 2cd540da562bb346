"""Files of version 2 are rewritten when they are opened; nothing in them is lost."""

import os
import random
import resource
import shutil
import sqlite3
import struct
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from store_helpers import CONTEXT, clear, damaged, key, sql
from version2_helpers import (
    RIGHT,
    old_connection,
    old_id,
    old_record,
    old_store,
    put_old,
    scores,
    signals_of_version2,
)

from gradgate.errors import StoreError
from gradgate.gradients.score import Score
from gradgate.gradients.signals import SIGNALS
from gradgate.scoring.store import record
from gradgate.scoring.store.file import StoreFile
from gradgate.scoring.store.scores import ScoreStore
from gradgate.scoring.store.upkeep import PruneRules, Verified, prune, summarise, verify

N_ROWS = 1500
OTHER = replace(CONTEXT, k=8, model_path="another")

finite = st.floats(allow_nan=False, allow_infinity=False)
may_lack = st.one_of(st.none(), finite)
numbers = st.one_of(st.none(), st.floats())
sketches = st.binary(min_size=512, max_size=512)
lengths = st.integers(0, 2**31 - 1)
reasons = st.one_of(st.none(), st.text(st.characters(codec=None)))
any_scores = st.one_of(
    st.builds(
        Score, may_lack, finite, may_lack, lengths, finite, finite, sketches,
        st.none(), st.just("scored"), reasons,
    ),
    st.builds(
        Score, numbers, numbers, numbers, lengths, numbers, numbers,
        st.one_of(st.none(), sketches), st.none(), st.just("failed"), reasons,
    ),
)  # fmt: skip


def bits(score: Score) -> tuple[object, ...]:
    values = (getattr(score, name) for name in Score.__dataclass_fields__)
    return tuple(struct.pack("<d", v) if isinstance(v, float) else v for v in values)


@pytest.fixture(autouse=True)
def only_signals_of_version2() -> Iterator[None]:
    with signals_of_version2():
        yield


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "scores.db"


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of version 2."""
    path = tmp_path_factory.mktemp("version2") / "scores.db"
    old_store(path, scores(range(N_ROWS)))
    return path


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(any_scores, min_size=1, max_size=20))
def test_every_bit_comes_back(
    tmp_path_factory: pytest.TempPathFactory, values: list[Score]
) -> None:
    content = {key(number): value for number, value in enumerate(values)}
    path = tmp_path_factory.mktemp("store") / "scores.db"
    old_store(path, content)
    with ScoreStore(path, CONTEXT) as store:
        found = store.get(list(content))
    assert {k: bits(v) for k, v in found.items()} == {k: bits(v) for k, v in content.items()}


def test_rows_of_all_models_are_kept_with_the_day_of_their_last_use(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    right = scores(range(2500))
    connection = old_connection(path)
    put_old(connection, right, day=20_000)
    put_old(connection, scores(range(100)), OTHER, day=20_100)
    connection.close()
    with StoreFile(path) as opened:  # no context: as `gradgate cache` opens it
        lines = summarise(opened)
        assert [(line.context, line.rows, line.last_used) for line in lines] == [
            (CONTEXT, 2500, "2024-10-04"), (OTHER, 100, "2025-01-12")
        ]  # fmt: skip
        assert lines[0].failed == sum(score.status == "failed" for score in right.values())
        assert verify(opened) == Verified(2600, 0, 0, None)
    assert "2600 rows of" in caplog.text
    assert sql(path, "PRAGMA user_version") == [(3,)]
    caplog.clear()
    with ScoreStore(path, CONTEXT) as store:
        assert store.get(list(right)) == right
    assert "rows of" not in caplog.text


def test_a_signal_that_version_2_did_not_know_is_put_beside_the_others(path: Path) -> None:
    right = {k: score for k, score in scores(range(30)).items() if score.status == "scored"}
    old_store(path, right)
    logp = {k: bytes(2 * (score.n_target_tokens + 3)) for k, score in right.items()}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(record, "SIGNALS", SIGNALS)
        patch.setattr(record, "Score", Score)
        with ScoreStore(path, CONTEXT) as store:
            assert store.get(list(right)) == {}
            store.put({k: replace(s, loss=9.0, token_logp=logp[k]) for k, s in right.items()})
            found = store.get(list(right))
    assert found == {k: replace(score, token_logp=logp[k]) for k, score in right.items()}


def test_the_file_does_not_grow(path: Path, original: Path) -> None:
    shutil.copy(original, path)
    with ScoreStore(path, CONTEXT):
        pass
    assert path.stat().st_size < 1.1 * original.stat().st_size


def test_damaged_rows_go_alone(path: Path) -> None:
    right = scores(range(50))
    old_store(path, right)
    sql(path, "UPDATE scores SET record = zeroblob(60) WHERE key = ?", key(3))
    sql(path, "UPDATE scores SET record = 17 WHERE key = ?", key(4))
    swapped = old_record(CONTEXT, key(6), RIGHT)
    sql(path, "UPDATE scores SET record = ? WHERE key = ?", swapped, key(5))
    del right[key(3)], right[key(4)], right[key(5)]
    with ScoreStore(path, CONTEXT) as store:
        assert store.get([key(number) for number in range(50)]) == right
        assert verify(store) == Verified(47, 3, 0, None)
        assert verify(store) == Verified(47, 0, 0, None)


def test_damaged_rows_that_go_at_opening_are_told(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("WARNING")
    old_store(path, scores(range(50)))
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE scores SET record = zeroblob(60) WHERE key = ?", (key(3),))
    connection.close()
    with StoreFile(path) as opened:  # as `gradgate cache verify` opens it
        assert verify(opened) == Verified(49, 1, 0, None)
    started, ended = caplog.messages
    assert "older versions refuse the file from now on" in started
    assert f"49 rows of {path} were kept, 1 damaged ones were removed" in ended


def test_rows_without_a_description_wait_for_their_model(path: Path) -> None:
    right = scores(range(50))
    connection = old_connection(path)
    put_old(connection, right)
    put_old(connection, right, OTHER)
    connection.execute("UPDATE contexts SET fields = '{}'")
    connection.close()
    with StoreFile(path) as opened:
        assert verify(opened) == Verified(0, 0, 100, None)
    with ScoreStore(path, OTHER) as store:
        assert store.get(list(right)) == right
        assert verify(store) == Verified(50, 0, 50, None)
    with ScoreStore(path, CONTEXT) as store:
        assert store.get(list(right)) == right
        assert verify(store) == Verified(100, 0, 0, None)
        assert len(prune(store, PruneRules(model_path="another"))) == 1


def test_an_old_process_that_goes_on_harms_nothing(path: Path) -> None:
    """It has the file open while it is rewritten, and writes as it did before."""
    first, second = scores(range(50)), scores(range(40, 90))
    old = old_connection(path)
    put_old(old, first)
    with ScoreStore(path, CONTEXT) as store:
        assert store.get(list(first)) == first
        put_old(old, second)
        assert store.get(list(first)) == first
        assert verify(store) == Verified(50, 0, 50, None)
    old.close()
    with StoreFile(path) as opened:
        assert [(line.context, line.rows) for line in summarise(opened)] == [(CONTEXT, 90)]
        assert verify(opened) == Verified(90, 0, 0, None)
    with ScoreStore(path, CONTEXT) as store:
        assert store.get([*first, *second]) == first | second
        assert verify(store) == Verified(90, 0, 0, None)
    assert sql(path, "SELECT id FROM contexts") == [(CONTEXT.id,)]


FAILED = Score(None, None, None, 3, None, None, None, None, "failed", "out of memory")
LATER = replace(RIGHT, entropy_crop=0.25)


@pytest.mark.parametrize(
    ("stored", "late", "kept"),
    [(FAILED, RIGHT, RIGHT), (RIGHT, FAILED, RIGHT), (RIGHT, LATER, RIGHT)],
)
@pytest.mark.parametrize("is_salvaged", [False, True])
def test_a_late_row_never_costs_a_score(
    path: Path, stored: Score, late: Score, kept: Score, is_salvaged: bool
) -> None:
    for number in range(8):  # which of the two ids is the smaller one differs
        context = replace(CONTEXT, k=number + 1)
        clear(path)
        with ScoreStore(path, context) as store:
            store.put({key(1): stored, key(2): RIGHT})
        old = old_connection(path)
        put_old(old, {key(1): late, key(3): FAILED}, context)
        if is_salvaged:
            old.execute("PRAGMA writable_schema = ON")
            old.execute("UPDATE sqlite_master SET sql = sql || ' ' WHERE name = 'contexts'")
        old.close()
        with ScoreStore(path, context) as store:
            found = store.get([key(1), key(2), key(3)])
            assert found == {key(1): kept, key(2): RIGHT, key(3): FAILED}
            assert (store.set_aside is not None) == is_salvaged
            assert verify(store) == Verified(3, 0, 0, store.set_aside)


def test_a_late_row_replaces_a_damaged_one(path: Path) -> None:
    with ScoreStore(path, CONTEXT) as store:
        store.put({key(1): LATER})
    sql(path, "UPDATE scores SET record = zeroblob(60)")
    old_store(path, {key(1): RIGHT})
    with ScoreStore(path, CONTEXT) as store:
        assert store.get([key(1)]) == {key(1): RIGHT}


def test_a_busy_file_is_left_as_it_is(
    path: Path, original: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(original, path)
    monkeypatch.setattr("gradgate.scoring.store.schema.BUSY_SECONDS", 0.1)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("PRAGMA journal_mode = WAL")
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreError, match="another process"):
        ScoreStore(path, CONTEXT)
    other.close()
    check(path)


def check(path: Path) -> int:
    """Only right rows, and whole in the end; how many rows were left."""
    right = scores(range(N_ROWS))
    with ScoreStore(path, CONTEXT) as store:
        found = store.get(list(right))
        assert found.items() <= right.items()
        verify(store)
        store.put(right)
        assert store.get(list(right)) == right
        assert verify(store) == Verified(N_ROWS, 0, 0, None) or store.set_aside is not None
    assert sql(path, "PRAGMA user_version") == [(3,)]
    return len(found)


def test_rows_of_damaged_files_are_saved(path: Path, original: Path) -> None:
    left, size = [], original.stat().st_size
    for seed in range(40):
        chance = random.Random(seed)

        def change(content: bytearray, chance: random.Random = chance) -> None:
            kind = chance.randrange(3)
            if kind == 0:
                del content[chance.randrange(4096, size) :]
            for _ in range(chance.choice([1, 8, 40]) if kind == 1 else 0):
                content[chance.randrange(100, size)] ^= 1 << chance.randrange(8)
            if kind == 2:
                page = chance.randrange(1, size // 4096) * 4096
                content[page : page + 4096] = chance.randbytes(4096)

        damaged(path, original, change)
        left.append(check(path))
    assert sum(left) > 0.6 * 40 * N_ROWS


def test_rows_of_other_models_are_saved_from_a_damaged_file(path: Path) -> None:
    connection = old_connection(path)
    put_old(connection, scores(range(N_ROWS)), OTHER)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    content = path.read_bytes()
    path.write_bytes(content[: 20 * 4096] + bytes(4 * 4096) + content[24 * 4096 :])
    with StoreFile(path) as opened:
        found = verify(opened)
    assert found.removed == found.undescribed == 0
    assert N_ROWS * 0.9 < found.whole < N_ROWS
    with ScoreStore(path, OTHER) as store:
        assert len(store.get([key(i) for i in range(N_ROWS)])) == found.whole


def is_untouched(path: Path) -> bool:
    """As an old process sees it."""
    rows = sql(path, "SELECT key, record FROM scores WHERE context = ?", old_id(CONTEXT))
    right = {(k, old_record(CONTEXT, k, one)) for k, one in scores(range(N_ROWS)).items()}
    return {*rows} == right and sql(path, "PRAGMA user_version") == [(2,)]


def test_a_quota_that_is_full_leaves_the_old_file(path: Path, original: Path) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    outcomes, refused = [], []
    for room in (20_000, 200_000, 700_000, 10**8):
        clear(path)
        shutil.copy(original, path)
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, limits[1]))
        try:
            ScoreStore(path, CONTEXT).close()
            outcomes.append(True)
        except StoreError as error:
            refused.append(str(error))
            outcomes.append(False)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert outcomes[-1] or is_untouched(path)
        assert check(path) == N_ROWS
    assert outcomes == sorted(outcomes)
    assert {*outcomes} == {True, False}
    assert all("what was stored before is kept; free room" in message for message in refused)


def test_a_disk_that_is_full_leaves_the_old_file(tmp_path: Path, original: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(disk)], capture_output=True
    )
    if mounted.returncode:
        pytest.skip("may not mount")
    path, outcomes, refused = disk / "scores.db", [], []
    try:
        for free in (0, 8_192, 40_000, 200_000, 500_000, 1_000_000, 4_000_000):
            clear(path)
            shutil.copy(original, path)
            space = os.statvfs(disk)
            (disk / "ballast").write_bytes(bytes(space.f_bavail * space.f_frsize - free))
            try:
                ScoreStore(path, CONTEXT).close()
                outcomes.append(True)
            except StoreError as error:
                refused.append(str(error))
                outcomes.append(False)
            (disk / "ballast").unlink()
            assert outcomes[-1] or is_untouched(path)
            assert check(path) == N_ROWS
    finally:
        subprocess.run(["umount", str(disk)], check=True)
    assert outcomes == sorted(outcomes)
    assert {*outcomes} == {True, False}
    assert all("what was stored before is kept; free room" in message for message in refused)
