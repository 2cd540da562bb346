"""What is found to be wrong before the expensive part."""

from pathlib import Path
from typing import Any

import pytest

from gradgate.common.run_folder import RunFolder
from gradgate.errors import ConfigError, DataError, GradgateError, ModelError
from gradgate.gate import pipeline
from gradgate.gate.config import GateConfig
from gradgate.models.handle import ConfiguredModel
from helpers import MODEL, question_rows, write_jsonl


def config(source: Path, **sections: dict[str, Any]) -> GateConfig:
    given: dict[str, dict[str, Any]] = {
        "data": {"source": str(source)},
        "model": {"path": str(MODEL), "device": "cpu", "dtype": "float32"},
    }
    return GateConfig.model_validate({**given, **sections})


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("missing.jsonl", r"detection.reference: .*missing.jsonl: no such file"),
        ("other.jsonl", r"detection.reference: .*column"),
        ("empty.jsonl", r"detection.reference: .*no rows"),
    ],
)
def test_a_reference_that_cannot_be_read(tmp_path: Path, reference: str, message: str) -> None:
    source = write_jsonl(tmp_path / "rows.jsonl", question_rows(3))
    write_jsonl(tmp_path / "other.jsonl", [{"nothing": 1}])
    write_jsonl(tmp_path / "empty.jsonl", [])
    asked = {"methods": ["recurrence"], "reference": str(tmp_path / reference)}
    assert_refused_before(config(source, detection=asked), tmp_path, DataError, message)


def test_a_probing_set_that_cannot_be_read(tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "rows.jsonl", question_rows(3))
    detection, safety = {"methods": ["gradshield"]}, {"probes": "nowhere.json"}
    asked = config(source, detection=detection, safety=safety)
    assert_refused_before(asked, tmp_path, ConfigError, "nowhere.json")


def test_a_model_that_is_not_all_there(tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "rows.jsonl", question_rows(3))
    (tmp_path / "model").mkdir()
    broken = config(source, model={"path": str(tmp_path / "model")})
    assert_refused_before(broken, tmp_path, ModelError, "no config.json; it is empty")


def test_a_source_that_is_not_there_is_said_before_the_model_is_looked_for(
    tmp_path: Path,
) -> None:
    nothing = config(tmp_path / "rows.jsonl", model={"path": "no/such-model"})
    assert_refused_before(nothing, tmp_path, DataError, "rows.jsonl: no such file or folder")


def assert_refused_before(
    asked: GateConfig, folder: Path, kind: type[GradgateError], message: str
) -> None:
    run = RunFolder(folder / "run")
    with pytest.raises(kind, match=message):
        pipeline.fetch(asked, run)
    assert not run.samples.exists()


def test_a_reference_that_can_be_read_is_let_through(tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "rows.jsonl", question_rows(3))
    asked = {"methods": ["recurrence"], "reference": str(source)}
    found = pipeline.fetch(config(source, detection=asked), RunFolder(tmp_path / "run"))
    assert found.n_samples == 3
    ConfiguredModel(config(source).model).check()


def test_a_split_of_the_data_is_not_asked_of_a_reference_that_is_a_file(tmp_path: Path) -> None:
    for split in ("train", "test"):
        (tmp_path / "data").mkdir(exist_ok=True)
        write_jsonl(tmp_path / "data" / f"{split}.jsonl", question_rows(3))
    trusted = write_jsonl(tmp_path / "trusted.jsonl", question_rows(3))
    data = {"source": str(tmp_path / "data"), "split": "train"}
    asked = {"methods": ["recurrence"], "reference": str(trusted)}
    run = RunFolder(tmp_path / "run")
    assert pipeline.fetch(config(tmp_path, data=data, detection=asked), run).n_rows == 3
    folder = {**asked, "reference": str(tmp_path / "data")}
    other = RunFolder(tmp_path / "other")
    assert pipeline.fetch(config(tmp_path, data=data, detection=folder), other).n_rows == 3
