"""What the score store keeps, and gives back."""

import math
import struct
import subprocess
import sys
import textwrap
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from store_helpers import CONTEXT, ENVIRONMENT, RIGHT, filled, in_process, key, scores, sql

from gradgate.errors import StoreError
from gradgate.gradients.score import Score
from gradgate.scoring.store import scores as store_module
from gradgate.scoring.store.file import StoreFile
from gradgate.scoring.store.record import Record
from gradgate.scoring.store.row import decode, encode
from gradgate.scoring.store.scores import ScoreStore
from gradgate.scoring.store.upkeep import verify


def changed(one: Any, field: str, value: object) -> Any:
    return replace(one, **{field: value})


FAILED = Score(None, None, None, 3, None, None, None, None, "failed", "the gradient vanishes")

floats = st.one_of(st.none(), st.floats())
texts = st.one_of(st.none(), st.text(st.characters(codec=None)))  # lone surrogates too
lengths = st.integers(0, 20)  # fewer than tokens
sketches = st.binary(min_size=512, max_size=512)
logp = st.integers(21, 60).flatmap(lambda n: st.binary(min_size=2 * n, max_size=2 * n))
failed_scores = st.builds(
    Score, floats, floats, floats, lengths, floats, floats, st.one_of(st.none(), sketches),
    st.one_of(st.none(), logp), st.just("failed"), texts,
)  # fmt: skip
finite = st.floats(allow_nan=False, allow_infinity=False)
may_lack = st.one_of(st.none(), finite)
good_scores = st.builds(
    Score, may_lack, finite, may_lack, lengths, finite, finite, sketches, logp,
    st.just("scored"), texts,
)  # fmt: skip


def bits(score: Score) -> tuple[object, ...]:
    entropies = (score.entropy_crop, score.entropy_full, score.evenness)
    values = (*entropies, score.loss, score.gradient_norm)
    exact = tuple(None if v is None else struct.pack("<d", v) for v in values)
    return (
        *exact,
        score.n_target_tokens,
        score.sketch,
        score.token_logp,
        score.status,
        score.reason,
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
@pytest.mark.parametrize("name", ["entropy_full", "loss", "gradient_norm"])
def test_a_scored_row_has_finite_values(path, name, wrong):
    with ScoreStore(path, CONTEXT) as store:
        with pytest.raises(ValueError, match="finite"):
            store.put({key(0): RIGHT, key(1): replace(RIGHT, **{name: wrong})})
        assert store.get([key(0), key(1)]) == {}


@pytest.mark.parametrize("name", ["entropy_crop", "evenness"])
def test_what_may_lack_is_finite_where_it_is_there(path, name):
    with ScoreStore(path, CONTEXT) as store:
        with pytest.raises(ValueError, match="finite"):
            store.put({key(0): changed(RIGHT, name, math.nan)})
        store.put({key(0): changed(RIGHT, name, None)})
        assert getattr(store.get([key(0)])[key(0)], name) is None


@pytest.mark.parametrize("wrong", [None, b"", bytes(511), bytes(1024)])
def test_a_scored_row_has_a_whole_sketch(path, wrong):
    with ScoreStore(path, CONTEXT) as store, pytest.raises(ValueError, match="sketch"):
        store.put({key(0): replace(RIGHT, sketch=wrong)})


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
    "k": 8,
    "dtype": "bfloat16",
    "probes_sha256": "c" * 64,
}


@pytest.mark.parametrize("name", CHANGED)
def test_another_context_never_sees_the_rows(path, name):
    other = changed(CONTEXT, name, CHANGED[name])
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
    assert len({changed(CONTEXT, n, v).digest for n, v in CHANGED.items()}) == len(CHANGED)
    shifted = replace(CONTEXT, model_revision='a", "b', adapter_sha256="c")
    assert shifted.digest != replace(shifted, model_revision="a", adapter_sha256='b", "c').digest
    assert len(CONTEXT.digest) == 32


def test_a_record_is_bound_to_every_bit_of_key_and_context():
    record = encode(CONTEXT, key(0), Record.of(RIGHT))
    assert decode(CONTEXT, key(0), record) == Record.of(RIGHT)
    assert Record.of(RIGHT).score() == RIGHT
    head = range(8 * 80)  # and some of the sketch, and all of the seal
    for position in (*head, *range(8 * 80, len(record) * 8, 97), *range(-128, 0)):
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
        row = len(encode(CONTEXT, key(0), Record.of(RIGHT))) + store_module._ROW_BYTES
        size = 4000 * (4096 // (4084 // row))  # a page holds whole rows
        live = store_module._live_bytes(store._connection)
        assert 0.8 * size < live <= size  # the estimate is an upper bound, and near
        assert store.evict(live) == 0
        assert store.evict(int(size * 0.4)) == 2400
        days = sql(path, "SELECT used, count(*) FROM scores GROUP BY used ORDER BY used")
        assert days == [(102, 600), (103, 1000)]
        assert store.evict(0) == 1600
        store.put({key(n): replace(FAILED, reason="x" * 10 * n) for n in range(500)})
        assert 0 < store.evict(200_000) < 500  # rows of one day and of many sizes
        total = f"sum(length(record) + {store_module._ROW_BYTES})"
        assert sql(path, f"SELECT {total} <= 200000 FROM scores") == [(1,)]


@pytest.mark.parametrize("n_tokens", [20, 180, 230, 1_000, 3_000])
def test_eviction_counts_the_pages_of_long_samples(path, monkeypatch, n_tokens):
    score = replace(RIGHT, token_logp=bytes(2 * n_tokens))
    with ScoreStore(path, CONTEXT) as store:
        for day in range(8):
            monkeypatch.setattr(store_module, "today", lambda day=day: day)
            store.put({key(day * 100 + i): score for i in range(100)})
        store._connection.execute("VACUUM")
        limit = store_module._live_bytes(store._connection) // 2
        assert 340 < store.evict(limit) < 480
        store._connection.execute("VACUUM")
        # each page may lack most of a further row, where five rows fill it
        assert store_module._live_bytes(store._connection) < 1.2 * limit


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


def test_commits_are_forced_to_the_disk(path):
    with ScoreStore(path, CONTEXT) as store:
        assert store._connection.execute("PRAGMA synchronous").fetchone() == (2,)


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
            env=ENVIRONMENT,
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
    code = "import sys, gradgate.scoring.store.upkeep; print(*sys.modules)"
    loaded = set(in_process(code).stdout.split())
    assert not loaded & {"torch", "transformers", "pandas", "datasets", "scipy", "peft"}


def test_upkeep_needs_no_context(path):
    content = filled(path, 30)
    with StoreFile(path) as opened:
        assert verify(opened).whole == len(content)
