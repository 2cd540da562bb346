"""`gradgate restore` as a user types it."""

import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from cli_helpers import Done, gradgate

from gradgate.common.files import file_sha256
from gradgate.gate import restore as restoring
from gradgate.gate.accounts import ACCOUNTS, Account, read_accounts
from gradgate.gate.restore import Chosen
from helpers import MODEL, diverse_rows, poisoned_rows, write_jsonl

Row = dict[str, Any]
ON_CPU = ["--model", MODEL, "--device", "cpu", "--dtype", "float32", "--no-power"]
LENIENT = ["--policy.max_poison_fraction", 0.2, "--policy.review_above", 0.2]


def rows() -> list[Row]:
    found, _ = poisoned_rows(diverse_rows(300), "badnets", 0.08)
    return [*found, {"question": "not scored", "answers": 7}]


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The rows of a passing run: 24 flagged, one rejected, one that is no JSON."""
    folder = tmp_path_factory.mktemp("gate")
    source = write_jsonl(folder / "rows.jsonl", rows())
    with source.open("a", encoding="utf-8") as file:
        file.write("{oops\n")
    done = gradgate("detect", source, *ON_CPU, *LENIENT, "--output", folder / "flags.parquet")
    assert done.exit_code == 0, done.stderr
    return folder / "flags.rows"


def restore(folder: Path, output: Path, *options: object) -> Done:
    return gradgate("restore", folder, "--reason", "I read them", "--output", output, *options)


def read(path: Path) -> list[Row]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_a_group_is_put_back_in_the_order_of_the_source(kept: Path, tmp_path: Path) -> None:
    output = tmp_path / "train.jsonl"
    done = restore(kept, output, "--group", "poisoned:1", "--by", "Ada")
    assert (done.exit_code, done.stdout) == (0, ""), done.stderr
    assert done.stderr.startswith(f"24 rows put back by Ada: 300 rows in {output}\n")
    assert "never judged" not in done.stderr
    assert read(output) == rows()[:300]  # without the gate's own column
    record = json.loads(Path(f"{output}.restored.json").read_text(encoding="utf-8"))
    assert (record["by"], record["reason"], record["decision"]) == ("Ada", "I read them", "pass")
    assert record["chosen"] == {"rows": "", "groups": ["poisoned:1"], "reasons": []}
    assert (record["n_rows"], record["n_restored"], record["n_not_judged"]) == (300, 24, 0)
    flagged = [one.row for one in read_accounts(kept / ACCOUNTS) if one.why == "flagged"]
    assert len(flagged) == 24
    numbers = [part.split("-") for part in record["rows"].split(",")]
    assert [n for part in numbers for n in range(int(part[0]), int(part[-1]) + 1)] == flagged


@pytest.mark.parametrize(
    ("options", "n", "n_not_judged"),
    [
        (["--kept-out-for", "flagged"], 24, 0),
        (["--kept-out-for", "wrong type"], 1, 1),
        (["--rows", "0-299"], 24, 0),
        (["--rows", "300, 0-3"], 1, 1),
        (["--kept-out-for", "flagged", "--rows", "300"], 25, 1),
    ],
)
def test_rows_are_chosen_by_number_and_by_reason(
    kept: Path, tmp_path: Path, options: list[str], n: int, n_not_judged: int
) -> None:
    output = tmp_path / "new" / "train.jsonl"
    done = restore(kept, output, *options)
    assert done.exit_code == 0, done.stderr
    assert len(read(output)) == 276 + n
    record = json.loads(Path(f"{output}.restored.json").read_text(encoding="utf-8"))
    assert (record["n_restored"], record["n_not_judged"]) == (n, n_not_judged)
    assert ("never judged" in done.stderr) == bool(n_not_judged)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "they are kept out as: flagged, rejected"),
        (["--group", "harmful:1"], "kept out as: flagged, rejected; their groups are: poisoned:1"),
        (["--rows", "301"], "could not be read, among them 301"),
        (["--rows", "302"], "there is no row 302; the rows are 0 to 301"),
        (["--rows", "7-3"], "7-3 ends before it begins"),
        (["--rows", "all"], "'all' is no row number"),
        (["--rows", "1", "--reason", " "], "--reason"),
    ],
)
def test_a_choice_that_puts_nothing_back_is_an_error(
    kept: Path, tmp_path: Path, options: list[str], message: str
) -> None:
    reason = [] if "--reason" in options else ["--reason", "so"]
    output = tmp_path / "train.jsonl"
    done = gradgate("restore", kept, *reason, "--output", output, *options)
    assert (done.exit_code, message in done.stderr) == (2, True), done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_reason_that_quotes_the_data_is_not_taken_for_a_word_of_why() -> None:
    """Otherwise a payload with such a word in it would be put back with the clear rows."""
    quoted = Account(3, "quarantine", "flagged", ["rows share 'a verdict, a copy'"], ["poisoned:1"])
    for word in ("verdict", "copy", "clear"):
        assert not Chosen(reasons=[word]).fits(quoted)
    assert Chosen(reasons=["flagged"]).fits(quoted)
    assert Chosen(reasons=["a verdict, a copy"]).fits(quoted)


def test_a_group_is_the_rows_that_a_page_shows_with_it() -> None:
    def account(why: str, *groups: str) -> Account:
        return Account(3, "quarantine", why, [], list(groups))

    chosen = Chosen(groups=["poisoned:1"])
    for why in ("flagged", "in doubt"):
        assert chosen.fits(account(why, "poisoned:1", "harmful:2"))
        assert not chosen.fits(account(why, "harmful:2", "poisoned:1"))
        assert not chosen.fits(account(why))
    for why in ("copy", "dropped", "verdict", "undecided", "no score"):
        assert not chosen.fits(account(why, "poisoned:1"))


def test_nothing_is_written_over(kept: Path, tmp_path: Path) -> None:
    before = {path.name: path.read_bytes() for path in kept.iterdir()}
    (tmp_path / "there.jsonl").write_text("mine")
    for output, message in (
        (tmp_path / "there.jsonl", "exists"),
        (kept / "accepted.jsonl", "into the input"),
        (tmp_path / "train.parquet", ".jsonl files"),
    ):
        done = restore(kept, output, "--kept-out-for", "flagged")
        assert (done.exit_code, message in done.stderr) == (2, True), done.stderr
    assert (tmp_path / "there.jsonl").read_text() == "mine"
    assert {path.name: path.read_bytes() for path in kept.iterdir()} == before


def test_of_two_at_the_same_time_one_is_written_with_its_own_record(
    kept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "train.jsonl"

    def begun_meanwhile(*arguments: Any) -> Any:
        with monkeypatch.context() as again:
            again.setattr(restoring, "_copy", copy)
            done = restore(kept, output, "--kept-out-for", "flagged", "--by", "Bob")
        assert done.exit_code == 0, done.stderr
        return copy(*arguments)

    copy = restoring._copy
    monkeypatch.setattr(restoring, "_copy", begun_meanwhile)
    done = restore(kept, output, "--rows", "300", "--by", "Ada")
    assert (done.exit_code, f"{output} exists" in done.stderr) == (2, True), done.stderr
    record = json.loads(Path(f"{output}.restored.json").read_text(encoding="utf-8"))
    assert (record["by"], record["sha256"]) == ("Bob", file_sha256(output))
    assert {path.name for path in tmp_path.iterdir()} == {
        "train.jsonl",
        "train.jsonl.restored.json",
    }


def test_a_record_is_never_there_without_its_rows(
    kept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "train.jsonl"

    def killed(part: Path, path: Path) -> None:
        assert not Path(f"{output}.restored.json").exists()
        raise KeyboardInterrupt

    monkeypatch.setattr("gradgate.common.files._put_first", killed)
    done = restore(kept, output, "--kept-out-for", "flagged")
    assert (done.exit_code, done.stderr) == (130, "stopped, without a result\n")
    assert list(tmp_path.iterdir()) == []


def _swap(folder: Path) -> None:
    lines = (folder / "quarantine.jsonl").read_text().splitlines(keepends=True)
    (folder / "quarantine.jsonl").write_text("".join([lines[1], lines[0], *lines[2:]]))


def _add(folder: Path) -> None:
    with (folder / "accepted.jsonl").open("a") as file:
        file.write('{"question": "slipped in", "answers": "yes"}\n')


def _foreign_metadata(folder: Path) -> None:
    table = pq.read_table(folder / ACCOUNTS)
    pq.write_table(table.replace_schema_metadata({b"\xff": b"\xfe"}), folder / ACCOUNTS)


def _foreign_state(folder: Path) -> None:
    table = pq.read_table(folder / ACCOUNTS)
    at = table.schema.get_field_index("state")
    states = pa.array(["lost"] * table.num_rows, table.schema.field(at).type)
    pq.write_table(table.set_column(at, table.schema.field(at), states), folder / ACCOUNTS)


@pytest.mark.parametrize(
    "change",
    [
        _swap,
        _add,
        _foreign_metadata,
        _foreign_state,
        lambda folder: (folder / "rejected.jsonl").unlink(),
        lambda folder: (folder / "accepted.jsonl").unlink(),
        lambda folder: (folder / "quarantine.jsonl").write_text("{}\n"),
        lambda folder: (folder / ACCOUNTS).write_bytes(b"PAR1"),
    ],
)
def test_files_that_do_not_belong_together_are_an_error(
    kept: Path, tmp_path: Path, change: Any
) -> None:
    shutil.copytree(kept, tmp_path / "rows")
    change(tmp_path / "rows")
    done = restore(tmp_path / "rows", tmp_path / "train.jsonl", "--kept-out-for", "flagged")
    assert (done.exit_code, done.stderr.count("\n")) == (2, 1), done.stderr
    assert done.stderr.startswith("error: ")
    assert not (tmp_path / "train.jsonl").exists()


def test_parquet_is_restored_as_parquet(tmp_path: Path) -> None:
    good = rows()[:300]
    columns = {name: [row[name] for row in good] for name in ("question", "answers")}
    table = pa.table({**columns, "n": pa.array(range(300), pa.int16())})
    pq.write_table(table, tmp_path / "rows.parquet")
    output = tmp_path / "out" / "flags.parquet"
    options = [*ON_CPU, *LENIENT, "--output", output]
    assert gradgate("detect", tmp_path / "rows.parquet", *options).exit_code == 0
    done = restore(output.with_name("flags.rows"), tmp_path / "train.parquet", "--rows", "0-299")
    assert done.exit_code == 0, done.stderr
    assert pq.read_table(tmp_path / "train.parquet").equals(table)


def test_a_folder_that_holds_other_things_is_not_replaced(tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "rows.jsonl", diverse_rows(30))
    mine = tmp_path / "flags.rows" / "notes.txt"
    mine.parent.mkdir()
    mine.write_text("keep me")
    done = gradgate("detect", source, *ON_CPU, "--output", tmp_path / "flags.parquet")
    assert (done.exit_code, "holds notes.txt besides" in done.stderr) == (2, True), done.stderr
    mine.rename(tmp_path / "notes.txt")
    assert (
        gradgate("detect", source, *ON_CPU, "--output", tmp_path / "flags.parquet").exit_code == 3
    )
    inside = mine.with_name("accepted.jsonl")
    done = gradgate("detect", inside, *ON_CPU, "--output", tmp_path / "flags.parquet")
    assert (done.exit_code, "into the input" in done.stderr) == (2, True), done.stderr
