"""What a fine-tuning says of itself."""

import json
from dataclasses import asdict, replace
from pathlib import Path
from shutil import copytree

import pytest
from release_helpers import Made

from gradgate.errors import ModelError
from gradgate.gate.verdict import Verdict
from gradgate.release.page import as_markdown
from gradgate.release.training_record import (
    MAX_HELD_OUT,
    NO_RECORD,
    TRAINING_RECORD,
    read_record,
)
from gradgate.tuning.contradictions import MAX_KEPT, Contradiction, Contradictions

VERDICT = Verdict("pass", ["fine"], n_rows=20, n_scored=20, dataset_fingerprint="a")


def write_record(folder: Path, **record: object) -> None:
    before = {"verdict": {"dataset_fingerprint": "a"}}
    (folder / TRAINING_RECORD).write_text(json.dumps({**before, **record}))


def test_rows_are_those_of_the_record(tmp_path: Path) -> None:
    assert read_record(tmp_path, VERDICT) == NO_RECORD
    write_record(tmp_path)  # of a version that held nothing out
    assert read_record(tmp_path, VERDICT) == NO_RECORD
    write_record(tmp_path, held_out=[3, 5])
    assert read_record(tmp_path, VERDICT).held_out == {3, 5}


def test_contradictions_are_those_of_the_record(tmp_path: Path) -> None:
    found = Contradictions(20, 3, 1.5, [Contradiction(4, 7, 11, 6.5)])
    write_record(tmp_path, contradictions=asdict(found))
    assert read_record(tmp_path, VERDICT).contradictions == found


def test_a_training_on_other_data_says_nothing_of_these(tmp_path: Path) -> None:
    write_record(tmp_path, held_out=[3, 5])
    assert read_record(tmp_path, replace(VERDICT, dataset_fingerprint="b")) == NO_RECORD


WATCHED = asdict(Contradictions(20, 3, 1.5, []))
ROW = {"row": 1, "place": 2, "token": 3, "nats": 6.0}


@pytest.mark.parametrize(
    "record",
    [
        {"held_out": 3},
        {"held_out": ["3"]},
        {"verdict": None},
        {"contradictions": 3},
        {"contradictions": {**WATCHED, "n_found": None}},
        {"contradictions": {**WATCHED, "n_expected": float("nan")}},
        {"contradictions": {**WATCHED, "n_expected": float("inf")}},
        {"contradictions": {**WATCHED, "n_expected": -1.0}},
        {"contradictions": {**WATCHED, "rows": [{**ROW, "row": "first"}]}},
        {"contradictions": {**WATCHED, "rows": [ROW] * (MAX_KEPT + 1)}},
    ],
)
def test_a_damaged_record_is_no_training_without_one(
    tmp_path: Path, record: dict[str, object]
) -> None:
    write_record(tmp_path, **record)
    with pytest.raises(ModelError, match=r"training\.json is damaged"):
        read_record(tmp_path, VERDICT)


def test_a_record_from_elsewhere_cannot_have_all_rows_read(tmp_path: Path) -> None:
    write_record(tmp_path, held_out=list(range(MAX_HELD_OUT)))
    assert len(read_record(tmp_path, VERDICT).held_out) == MAX_HELD_OUT
    write_record(tmp_path, held_out=list(range(MAX_HELD_OUT + 1)))
    with pytest.raises(ModelError, match="says that 129 rows were held out; at most 128 are"):
        read_record(tmp_path, VERDICT)


def test_prompts_that_were_held_out_are_asked_first(clean_adapter: Made, tmp_path: Path) -> None:
    made = Made(copytree(clean_adapter.folder, tmp_path / "made"))
    before = {"dataset_fingerprint": made.verdict.dataset_fingerprint}
    write_record(made.adapter, held_out=[3, 50, 51, 77, 101, 120, 150, 180, 199], verdict=before)
    test = made.test()
    assert (test.outcome, test.n_prompts, test.n_held_out) == ("pass", 24, 9)
    assert f"{test.n_prompts} ordinary prompts, of which 9 were held out" in as_markdown(test)


def test_a_record_that_cannot_be_read_is_no_pass(clean_adapter: Made, tmp_path: Path) -> None:
    made = Made(copytree(clean_adapter.folder, tmp_path / "made"))
    (made.adapter / TRAINING_RECORD).write_text("{")
    test = made.test()
    assert test.outcome == "error"
    assert "training.json is half downloaded" in test.reasons[0]
