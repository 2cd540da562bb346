"""What a fine-tuning says of the samples that it did not see."""

import json
from dataclasses import replace
from pathlib import Path
from shutil import copytree

import pytest
from release_helpers import Made

from gradgate.errors import ModelError
from gradgate.gate.verdict import Verdict
from gradgate.release.held_out import MAX_HELD_OUT, TRAINING_RECORD, held_out_rows
from gradgate.release.page import as_markdown

VERDICT = Verdict("pass", ["fine"], n_rows=20, n_scored=20, dataset_fingerprint="a")


def write_record(folder: Path, **record: object) -> None:
    before = {"verdict": {"dataset_fingerprint": "a"}}
    (folder / TRAINING_RECORD).write_text(json.dumps({**before, **record}))


def test_rows_are_those_of_the_record(tmp_path: Path) -> None:
    assert held_out_rows(tmp_path, VERDICT) == frozenset()
    write_record(tmp_path)  # of a version that held nothing out
    assert held_out_rows(tmp_path, VERDICT) == frozenset()
    write_record(tmp_path, held_out=[3, 5])
    assert held_out_rows(tmp_path, VERDICT) == {3, 5}


def test_a_training_on_other_data_says_nothing_of_these(tmp_path: Path) -> None:
    write_record(tmp_path, held_out=[3, 5])
    assert held_out_rows(tmp_path, replace(VERDICT, dataset_fingerprint="b")) == frozenset()


@pytest.mark.parametrize("record", [{"held_out": 3}, {"held_out": ["3"]}, {"verdict": None}])
def test_a_damaged_record_is_no_training_without_one(
    tmp_path: Path, record: dict[str, object]
) -> None:
    write_record(tmp_path, **record)
    with pytest.raises(ModelError, match=r"training\.json is damaged"):
        held_out_rows(tmp_path, VERDICT)


def test_a_record_from_elsewhere_cannot_have_all_rows_read(tmp_path: Path) -> None:
    write_record(tmp_path, held_out=list(range(MAX_HELD_OUT)))
    assert len(held_out_rows(tmp_path, VERDICT)) == MAX_HELD_OUT
    write_record(tmp_path, held_out=list(range(MAX_HELD_OUT + 1)))
    with pytest.raises(ModelError, match="says that 129 rows were held out; at most 128 are"):
        held_out_rows(tmp_path, VERDICT)


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
