"""JSON of other people is a value or a `ValueError`, and so what reads it says what is wrong."""

from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import BaseModel, TypeAdapter, ValidationError

from gradgate.common.json_values import TooDeepError, faults_in, parse_json
from gradgate.common.processes import owner_of
from gradgate.common.run_folder import RunFolder
from gradgate.data.prepare import Prepared
from gradgate.errors import ConfigError, DataError, StoreError
from gradgate.gate.series import Series, last_run
from gradgate.retention.references import run_in
from gradgate.scoring.shards.folder import PLAN, ShardFolder
from gradgate.scoring.shards.plan import Plan
from tasks.run import tracked_id

DEEP = "[" * 100_000


def test_a_text_is_a_value_or_a_value_error() -> None:
    assert parse_json(b'{"a": [1]}') == {"a": [1]}
    for text in (DEEP, DEEP + "]" * 100_000, DEEP.encode()):
        with pytest.raises(TooDeepError, match="it is nested too deeply"):
            parse_json(text)
    for damaged in ("{", b"\xff\xfe"):
        with pytest.raises(ValueError, match=r"Expecting|decode"):
            parse_json(damaged)


class _Point(BaseModel):
    x: int
    y: int


def test_faults_are_one_line_and_do_not_repeat_the_value() -> None:
    with pytest.raises(ValidationError) as caught:
        _Point.model_validate({"x": "secret"})
    said = faults_in(caught.value)
    assert said.startswith("x: Input should be a valid integer")
    assert said.endswith("; y: Field required")
    assert "secret" not in said
    with pytest.raises(ValidationError) as caught:
        TypeAdapter(dict[str, int]).validate_python({"a\n" * 100: "", **dict.fromkeys("bcdef", "")})
    said = faults_in(caught.value)
    assert said.startswith("a a a")
    assert said.endswith("; and 3 more")
    assert "\n" not in said
    assert len(said) < 400


def _series(folder: Path) -> object:
    series = Series("rows.jsonl", None, None, "m", None, "e")
    series.pointer(folder).parent.mkdir(parents=True)
    series.pointer(folder).write_text(DEEP)
    return last_run(series, folder)


def _pointer(folder: Path) -> object:
    (folder / "pointer.json").write_text(DEEP)
    return run_in(folder / "pointer.json")


def _prepared(folder: Path) -> object:
    RunFolder(folder).dataset.write_text(DEEP)
    return Prepared.load(folder)


def _plan(folder: Path) -> object:
    (folder / PLAN).write_text(DEEP)
    return Plan.read(ShardFolder(str(folder)))


def _tracked(folder: Path) -> object:
    RunFolder(folder).tracked.write_text(DEEP)
    return tracked_id(RunFolder(folder))


@pytest.mark.parametrize("read", [_series, _pointer, _prepared, _plan, _tracked])
def test_what_reads_a_file_says_what_is_wrong(
    tmp_path: Path, read: Callable[[Path], object]
) -> None:
    with pytest.raises((ConfigError, DataError, StoreError), match=str(tmp_path)):
        read(tmp_path)


def test_an_owner_that_cannot_be_read_is_not_known(tmp_path: Path) -> None:
    RunFolder(tmp_path).tracked.write_text(DEEP)
    assert owner_of(RunFolder(tmp_path)) is None
