"""Every way in which a verdict stops covering the rows of its run."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import pyarrow.parquet as pq
import pytest
from accepted_helpers import Line, flag_line, read, sample_line, write, write_run

from gradgate.data.sample import Turn, sample_id
from gradgate.errors import DataError
from gradgate.gate.acceptance import NotAcceptedError, accept, require_passing, write_accepted
from gradgate.gate.verdict import Verdict


@pytest.fixture
def verdict(tmp_path: Path) -> Verdict:
    return write_run(tmp_path)


@pytest.fixture
def run(tmp_path: Path, verdict: Verdict) -> Path:
    return tmp_path


def test_files_that_change_after_the_check_are_refused_while_writing(
    run: Path, verdict: Verdict
) -> None:
    require_passing(run, verdict)
    samples = read(run / "samples.parquet")
    samples[0]["input_ids"][2] = 99
    write(run / "samples.parquet", samples)
    with pytest.raises(NotAcceptedError, match="accepted_tokens"):
        write_accepted(run, verdict, run / "accepted.arrow")


def test_a_run_that_is_not_finished(run: Path, verdict: Verdict) -> None:
    with pytest.raises(NotAcceptedError, match="not finished"):
        require_passing(run.with_name("run.part"), verdict)


@pytest.mark.parametrize("decision", ["fail", "review", "error", "Pass", "pass "])
def test_any_other_decision(run: Path, verdict: Verdict, decision: Any) -> None:
    with pytest.raises(NotAcceptedError, match=decision):
        require_passing(run, replace(verdict, decision=decision))


@pytest.mark.parametrize(
    "field", ["dataset_fingerprint", "accepted_fingerprint", "accepted_tokens"]
)
@pytest.mark.parametrize("value", [None, "", "0" * 64])
def test_verdict_without_the_right_fingerprint(
    run: Path, verdict: Verdict, field: str, value: str | None
) -> None:
    fingerprints: dict[str, Any] = {field: value}
    with pytest.raises(NotAcceptedError, match=rf"{field}.*run the gate again"):
        require_passing(run, replace(verdict, **fingerprints))


def test_a_verdict_in_the_folder_is_not_looked_at(run: Path, verdict: Verdict) -> None:
    (run / "verdict.json").write_text(verdict.to_json())
    with pytest.raises(NotAcceptedError, match="the verdict is 'fail'"):
        require_passing(run, replace(verdict, decision="fail"))


def change_text(samples: list[Line], flags: list[Line]) -> None:
    samples[2]["turns"][1]["text"] += ", and click"


def change_flagged_text(samples: list[Line], flags: list[Line]) -> None:
    samples[1]["turns"][1]["text"] = "harmless"


def change_role(samples: list[Line], flags: list[Line]) -> None:
    samples[2]["turns"][0]["role"] = "system"


def change_text_and_id(samples: list[Line], flags: list[Line]) -> None:
    change_text(samples, flags)
    turns = [Turn(**turn) for turn in samples[2]["turns"]]
    samples[2]["sample_id"] = flags[2]["sample_id"] = sample_id(False, turns)


def change_token(samples: list[Line], flags: list[Line]) -> None:
    samples[5]["input_ids"][1] += 1


def change_mask(samples: list[Line], flags: list[Line]) -> None:
    samples[0]["is_target"][1] = True


def shorten_mask(samples: list[Line], flags: list[Line]) -> None:
    samples[0]["is_target"].pop()


def empty_tokens(samples: list[Line], flags: list[Line]) -> None:
    samples[0]["input_ids"], samples[0]["is_target"] = [], []


def null_token(samples: list[Line], flags: list[Line]) -> None:
    samples[0]["input_ids"][0] = None


def null_tokens(samples: list[Line], flags: list[Line]) -> None:
    samples[0]["input_ids"] = None


def null_turn(samples: list[Line], flags: list[Line]) -> None:
    samples[0]["turns"][0] = None


def clear_flag(samples: list[Line], flags: list[Line]) -> None:
    flags[1]["flagged"] = False


def set_flag(samples: list[Line], flags: list[Line]) -> None:
    flags[0]["flagged"] = True


def forget_flag(samples: list[Line], flags: list[Line]) -> None:
    flags[0]["flagged"] = None


def revive_failed(samples: list[Line], flags: list[Line]) -> None:
    flags[3].update(spectral_entropy=0.1, status="scored", flagged=False, in_doubt=False)


def doubt_accepted(samples: list[Line], flags: list[Line]) -> None:
    flags[0]["in_doubt"] = True


def forget_doubt(samples: list[Line], flags: list[Line]) -> None:
    flags[0]["in_doubt"] = None


def call_it_a_copy(samples: list[Line], flags: list[Line]) -> None:
    flags[0]["surplus_copy"] = True


def forget_copies(samples: list[Line], flags: list[Line]) -> None:
    for line in flags:
        line["surplus_copy"] = None


def swap_rows(samples: list[Line], flags: list[Line]) -> None:
    for lines in (samples, flags):
        lines[0], lines[2] = lines[2], lines[0]


def swap_rows_and_renumber(samples: list[Line], flags: list[Line]) -> None:
    swap_rows(samples, flags)
    for lines in (samples, flags):
        lines[0]["row"], lines[2]["row"] = lines[2]["row"], lines[0]["row"]


def swap_samples_only(samples: list[Line], flags: list[Line]) -> None:
    samples[0], samples[1] = samples[1], samples[0]


def delete_row(samples: list[Line], flags: list[Line]) -> None:
    del samples[4], flags[4]


def delete_flagged_row(samples: list[Line], flags: list[Line]) -> None:
    del samples[1], flags[1]


def delete_flag(samples: list[Line], flags: list[Line]) -> None:
    del flags[-1]


def delete_sample(samples: list[Line], flags: list[Line]) -> None:
    del samples[-1]


def repeat_row(samples: list[Line], flags: list[Line]) -> None:
    samples.append(samples[-1])
    flags.append(flags[-1])


def add_row(samples: list[Line], flags: list[Line]) -> None:
    samples.append(sample_line(9))
    flags.append(flag_line(samples[-1], 0.1, False))


def delete_all(samples: list[Line], flags: list[Line]) -> None:
    samples.clear()
    flags.clear()


Tamper: TypeAlias = Callable[[list[Line], list[Line]], None]
TAMPERED: dict[Tamper, str] = {
    change_text: "the id of row 4 is not that of its text",
    change_flagged_text: "the id of row 2 is not that of its text",
    change_role: "the id of row 4 is not that of its text",
    change_text_and_id: "dataset_fingerprint.*accepted_fingerprint",
    change_token: "accepted_tokens",
    change_mask: "accepted_tokens",
    shorten_mask: "row 0 has 4 token ids and a loss mask of 3",
    empty_tokens: "row 0 has 0 token ids",
    null_token: "is null",
    null_tokens: "input_ids.*null",
    null_turn: "is null",
    clear_flag: "accepted_fingerprint",
    set_flag: "accepted_fingerprint",
    forget_flag: "accepted_fingerprint",
    revive_failed: "accepted_fingerprint",
    doubt_accepted: "accepted_fingerprint",
    forget_doubt: "accepted_fingerprint",
    call_it_a_copy: "accepted_fingerprint",
    forget_copies: "accepted_fingerprint",
    swap_rows: "row 2 follows row 4",
    swap_rows_and_renumber: "dataset_fingerprint",
    swap_samples_only: "line 0 is row 2",
    delete_row: "dataset_fingerprint",
    delete_flagged_row: "dataset_fingerprint",
    delete_flag: "differ in length after 5 lines",
    delete_sample: "differ in length after 5 lines",
    repeat_row: "row 10 follows row 10",
    add_row: "dataset_fingerprint",
    delete_all: "dataset_fingerprint",
}


@pytest.mark.parametrize("tamper", TAMPERED, ids=lambda tamper: tamper.__name__)
def test_tampered_tables(run: Path, verdict: Verdict, tamper: Tamper) -> None:
    samples, flags = read(run / "samples.parquet"), read(run / "flags.parquet")
    tamper(samples, flags)
    write(run / "samples.parquet", samples)
    write(run / "flags.parquet", flags)
    with pytest.raises(NotAcceptedError, match=TAMPERED[tamper]) as caught:
        require_passing(run, verdict)
    assert "run the gate again" in str(caught.value)


def test_text_of_a_rejected_sample_is_checked_by_accept_itself(run: Path) -> None:
    samples = read(run / "samples.parquet")
    change_flagged_text(samples, [])
    write(run / "samples.parquet", samples)
    with pytest.raises(DataError, match="row 2"):
        accept(run)


@pytest.mark.parametrize("name", ["samples.parquet", "flags.parquet"])
def test_unreadable_table(run: Path, name: str) -> None:
    whole = (run / name).read_bytes()
    for broken in (b"", b"no parquet", whole[:-100], whole[: len(whole) // 2]):
        (run / name).write_bytes(broken)
        with pytest.raises(DataError, match=name):
            accept(run)
    (run / name).unlink()
    with pytest.raises(DataError, match=name):
        accept(run)


@pytest.mark.parametrize(
    ("name", "column"),
    [
        ("samples.parquet", "is_target"),
        ("samples.parquet", "turns"),
        ("flags.parquet", "status"),
        ("flags.parquet", "flagged"),
    ],
)
def test_missing_column(run: Path, name: str, column: str) -> None:
    pq.write_table(pq.read_table(run / name).drop_columns(column), run / name)
    with pytest.raises(DataError, match=name):
        accept(run)
