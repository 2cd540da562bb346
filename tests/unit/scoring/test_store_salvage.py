"""Damaged files: what comes back is right, and what is whole is saved."""

import os
import random
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from store_helpers import CONTEXT, clear, damaged, filled, key, scores

from gradgate.scoring.store.file import StoreFile
from gradgate.scoring.store.scores import ScoreStore
from gradgate.scoring.store.upkeep import verify

N_ROWS = 240  # a tree of three levels
N_MANY = 4_000


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
        for start in range(N_ROWS // 2, N_ROWS, N_ROWS // 12):
            store.put(scores(range(start, start + N_ROWS // 12)))
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


def cut_at(end: int) -> Callable[[bytearray], None]:
    def cut(content: bytearray) -> None:
        del content[end:]

    return cut


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
        damaged(path, original, cut_at(offset))
        left.append(check(path))
    assert part == "start" or max(left) > N_ROWS / 2  # the salvage does save rows


def test_bits_that_changed(tmp_path, original):
    path = tmp_path / "scores.db"
    left = []
    for seed in range(60):
        chance = random.Random(seed)

        def change(content: bytearray, chance: random.Random = chance) -> None:
            for _ in range(chance.choice([1, 2, 4, 16, 80])):
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


def test_the_damaged_file_is_kept_and_rows_of_all_models_are_saved(tmp_path, caplog):
    path, n_rows = tmp_path / "scores.db", 600
    filled(path, n_rows)
    os.truncate(path, path.stat().st_size - 9000)
    before = path.read_bytes()
    with ScoreStore(path, CONTEXT) as store:
        assert store.set_aside is not None
        assert store.set_aside.read_bytes() == before
        n = len(store.get([key(number) for number in range(n_rows)]))
        assert n > n_rows / 2
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
    right = filled(path, N_MANY)
    with ScoreStore(path, CONTEXT) as store, ScoreStore(path, CONTEXT) as other:
        assert len(other.get([key(0)])) == 1
        with path.open("r+b") as file:  # not closed: that would drop SQLite's locks
            file.seek(3 * 4096)
            file.write(os.urandom(60 * 4096))
            file.flush()
            assert store.get(list(right)).items() <= right.items()
            store.put(right)
            assert other.get(list(right)).items() <= right.items()
            other.put(right)
            assert store.get(list(right)) == right
        assert [store.set_aside is None, other.set_aside is None].count(False) == 1
        assert verify(other).whole == N_MANY


def test_nothing_is_salvaged_of_the_first_version(tmp_path, original):
    path = tmp_path / "scores.db"
    shutil.copy(original, path)
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 1")
    connection.close()
    content = bytearray(path.read_bytes())
    content[4096 * 5 : 4096 * 7] = bytes(2 * 4096)
    path.write_bytes(content)
    check(path)
    with ScoreStore(path, CONTEXT) as store:
        assert verify(store).undescribed == 0


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
