"""`gradgate cache` as a user types it."""

import resource
import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest
from cli_helpers import Done, gradgate
from store_helpers import CONTEXT, filled, key, score_of

from gradgate.scoring.store import scores as store_module
from gradgate.scoring.store import upkeep as store_upkeep
from gradgate.scoring.store.scores import ScoreStore

OTHER = replace(
    CONTEXT,
    model_path="hub/other",
    model_revision="0123456789abcdef",
    adapter="my [red]adapter\x1b[0m",
    adapter_sha256="c" * 64,
    probes_sha256="e" * 64,
    k=8,
)


def cache(*arguments: object) -> Done:
    return gradgate("cache", *arguments)


@pytest.fixture
def path(fresh_state: Path) -> Path:
    """40 rows of one model, used on day 20,000, and 60 of another, used on day 20,100."""
    fresh_state.mkdir()
    path = fresh_state / "scores.db"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store_module, "today", lambda: 20_000)
        filled(path, 40)
        patch.setattr(store_module, "today", lambda: 20_100)
        filled(path, 60, OTHER)
    return path


def count(path: Path) -> int:
    connection = sqlite3.connect(path)
    (n,) = connection.execute("SELECT count(*) FROM scores").fetchone()
    connection.close()
    return int(n)


def damage_rows(path: Path, n: int) -> None:
    connection = sqlite3.connect(path)
    with connection:
        for number in range(n):
            connection.execute(
                "UPDATE scores SET record = zeroblob(50) WHERE key = ? AND context = ?",
                (key(number), CONTEXT.id),
            )
    connection.close()


def test_show_names_every_model(path: Path) -> None:
    done = cache("show")
    assert done.exit_code == 0, done.stderr
    failed = [sum(score_of(key(i)).status == "failed" for i in range(n)) for n in (40, 60)]
    first, second = (line for line in done.stdout.splitlines() if "float32" in line)
    assert [cell.strip() for cell in first.strip("│").split("│")] == [
        "hub/other", "0123456789abcdef", "a" * 12, r"my [red]adapter\x1b[0m", "c" * 12, "e" * 12,
        "8", "float32", "60", str(failed[1]), "2025-01-12", "2025-01-12",
    ]  # fmt: skip
    assert [cell.strip() for cell in second.strip("│").split("│")] == [
        "path/to/model", "", "a" * 12, "", "", "",
        "16", "float32", "40", str(failed[0]), "2024-10-04", "2024-10-04",
    ]  # fmt: skip
    assert f"100 rows, 0.1 MiB: {path}" in done.stdout


@pytest.mark.parametrize("command", [["show"], ["verify"], ["prune", "--all"]])
def test_there_is_no_store_yet(fresh_state: Path, command: list[object]) -> None:
    done = cache(*command)
    assert done.exit_code == 0
    assert f"there is no score store at {fresh_state / 'scores.db'} yet" in done.stdout
    assert list(fresh_state.iterdir()) == []


@pytest.mark.parametrize("command", [["verify"], ["prune", "--all"]])
def test_a_store_that_was_named_must_be_there(tmp_path: Path, command: list[object]) -> None:
    done = cache(*command, "--store", tmp_path / "typo.db")
    assert done.exit_code == 2
    assert "there is no score store at" in done.stderr


def test_an_empty_store(tmp_path: Path) -> None:
    filled(tmp_path / "scores.db", 0)
    done = cache("show", "--store", tmp_path / "scores.db")
    assert done.exit_code == 0
    assert done.stdout.startswith("0 rows, ")


def test_verify_a_whole_store(path: Path) -> None:
    done = cache("verify")
    assert done.exit_code == 0
    assert done.stdout == "100 rows are whole, 0 damaged ones were removed\n"


def test_verify_removes_damaged_rows(path: Path) -> None:
    damage_rows(path, 3)
    done = cache("verify")
    assert done.exit_code == 1
    assert "97 rows are whole, 3 damaged ones were removed" in done.stdout
    assert count(path) == 97
    assert cache("verify").exit_code == 0


def test_verify_replaces_a_damaged_file(tmp_path: Path) -> None:
    path = tmp_path / "scores.db"
    content = filled(path, 2000)
    with path.open("r+b") as file:
        file.seek(10 * 4096)
        file.write(bytes(4096))
    done = cache("verify", "--store", path)
    assert done.exit_code == 1
    assert f"it is now {path}.damaged-" in done.stdout
    n = int(done.stdout.split()[0])
    assert 1900 < n < 2000
    assert cache("verify", "--store", path).exit_code == 0
    with ScoreStore(path, CONTEXT) as store:
        assert len(store.get(list(content))) == n


def test_verify_leaves_rows_whose_description_is_lost(path: Path) -> None:
    connection = sqlite3.connect(path)
    with connection:
        connection.execute("UPDATE contexts SET fields = '{}' WHERE id = ?", (OTHER.id,))
    connection.close()
    assert "(description damaged)" in cache("show").stdout
    done = cache("verify")
    assert done.exit_code == 0
    assert "40 rows are whole, 0 damaged ones were removed" in done.stdout
    assert "60 rows of models whose description is lost; they are used again" in done.stdout
    with ScoreStore(path, OTHER) as store:
        assert len(store.get([key(number) for number in range(60)])) == 60
    assert "100 rows are whole" in cache("verify").stdout


@pytest.mark.parametrize("command", [["show"], ["verify"], ["prune", "--all"]])
def test_a_file_that_cannot_be_read(tmp_path: Path, command: list[object]) -> None:
    (tmp_path / "x.db").write_text("something else")
    done = cache(*command, "--store", tmp_path / "x.db")
    assert done.exit_code == 2
    assert "x.db is not a score store" in done.stderr
    assert (tmp_path / "x.db").read_text() == "something else"


def test_prune_wants_a_rule(path: Path) -> None:
    done = cache("prune", "--dry-run")
    assert done.exit_code == 2
    assert "--unused-days, --max-mib, --model or --all" in done.stderr
    assert count(path) == 100


@pytest.mark.parametrize(
    ("rules", "n_removed"),
    [
        (["--unused-days", 100], 0),
        (["--unused-days", 99], 40),
        (["--unused-days", 0], 40),
        (["--model", "hub/other"], 60),
        (["--model", "nothing"], 0),
        (["--max-mib", 100], 0),
        (["--max-mib", 0], 100),
        (["--all"], 100),
        (["--unused-days", 50, "--model", "hub/other"], 100),
    ],
)
def test_prune(
    path: Path, monkeypatch: pytest.MonkeyPatch, rules: list[object], n_removed: int
) -> None:
    monkeypatch.setattr(store_upkeep, "today", lambda: 20_100)
    done = cache("prune", *rules, "--dry-run")
    assert done.exit_code == 0, done.stderr
    assert done.stdout.splitlines()[-1] == f"{n_removed} rows would be removed"
    assert count(path) == 100
    done = cache("prune", *rules)
    assert f"{n_removed} rows removed" in done.stdout.splitlines()
    assert count(path) == 100 - n_removed
    assert cache("verify").exit_code == 0


def test_prune_says_what_went(path: Path) -> None:
    done = cache("prune", "--all")
    adapted = r"hub/other with my [red]adapter\x1b[0m (k = 8, float32, probes eeeeeeeeeeee)"
    assert f"60 rows of {adapted}" in done.stdout
    assert "40 rows of path/to/model (k = 16, float32)" in done.stdout
    assert cache("show").stdout.startswith("0 rows, ")


def test_prune_gives_the_room_back(tmp_path: Path) -> None:
    path = tmp_path / "scores.db"
    filled(path, 6_000)
    assert path.stat().st_size > 3 * 2**20
    done = cache("prune", "--store", path, "--max-mib", 1)
    assert done.exit_code == 0
    assert 0.9 * 2**20 < path.stat().st_size <= 2**20
    assert "1.0 now" in done.stdout
    assert count(path) > 1300


def test_a_dry_run_says_exactly_what_goes_and_waits_for_nobody(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gradgate.scoring.store.schema.BUSY_SECONDS", 0.1)
    rules = ["prune", "--model", "path/to/model", "--max-mib", 0.03]
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    planned = cache(*rules, "--dry-run")
    other.close()
    assert planned.exit_code == 0, planned.stderr
    done = cache(*rules)
    assert done.stdout.splitlines()[:2] == planned.stdout.splitlines()[:2]
    n = int(planned.stdout.splitlines()[-1].split()[0])
    assert 55 < n < 65
    assert count(path) == 100 - n


def test_prune_without_room_to_pack_the_file(tmp_path: Path) -> None:
    path = tmp_path / "scores.db"
    filled(path, 6_000)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10**6, limits[1]))
    try:
        done = cache("prune", "--store", path, "--max-mib", 4.0)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    n = 6_000 - count(path)
    assert n > 0
    assert done.exit_code == 2
    assert f"{n} rows removed" in done.stdout.splitlines()
    assert f"{n} rows removed; their room could not be given back" in done.stderr
    assert "free room in $SQLITE_TMPDIR, $TMPDIR or /var/tmp" in done.stderr


def test_damaged_files_are_named_and_removed(path: Path) -> None:
    aside = path.with_name("scores.db.damaged-20260102T030405678901")
    aside.write_bytes(bytes(2**20))
    path.with_name(f"{aside.name}-wal").touch()
    mine = path.with_name("scores.db.damaged-and-mine")
    mine.touch()
    assert f"1.0 MiB: {aside}, a damaged one that may be deleted" in cache("show").stdout
    cache("prune", "--unused-days", 0)
    assert f"{aside} would be deleted" in cache("prune", "--all", "--dry-run").stdout
    assert aside.exists()
    assert f"{aside} was deleted" in cache("prune", "--all").stdout
    assert [f.name for f in path.parent.glob("*damaged*")] == [mine.name]


def test_a_model_path_forges_no_lines(path: Path) -> None:
    filled(path, 3, replace(CONTEXT, k=3, model_path="x\n9 rows removed\r"))
    for command in (["show"], ["prune", "--all"]):
        done = cache(*command)
        assert done.exit_code == 0
        assert r"x\n9 rows removed\r" in done.stdout
        assert "9 rows removed" not in [line.strip(" │") for line in done.stdout.splitlines()]
