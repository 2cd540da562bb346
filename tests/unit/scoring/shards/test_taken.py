"""A gate takes its scores from a folder of shards, if these are of its rows and its setting."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from shard_helpers import MODEL_CONFIG, SCORING, planned, prepared_at, scored, some_rows

from gradgate.common.run_folder import RunFolder
from gradgate.config import DataConfig, ModelConfig, PowerConfig, ScoringConfig
from gradgate.data.prepare import Prepared
from gradgate.errors import ConfigError, GradgateError, StoreError
from gradgate.gate import pipeline
from gradgate.gate.config import DetectionConfig, GateConfig


@pytest.fixture(autouse=True)
def state(fresh_state: Path) -> Path:
    return fresh_state


def config_of(folder: Path, shards: Path | None, **model: object) -> GateConfig:
    return GateConfig(
        data=DataConfig(source=str(folder / "rows.jsonl")),
        model=ModelConfig.model_validate({**MODEL_CONFIG.model_dump(), **model}),
        scoring=ScoringConfig(from_shards=None if shards is None else str(shards)),
        detection=DetectionConfig(power=PowerConfig(attacks=[])),
    )


def scored_rows(base: Path, rows: Sequence[Mapping[str, object]]) -> tuple[Prepared, Path]:
    """Rows in `base / "rows"`, and a folder in which their shards are scored."""
    prepared = prepared_at(base / "rows", rows)
    scored(planned(base / "shards", prepared)[0], 3)
    return prepared, base / "shards"


def refused(
    prepared: Prepared, config: GateConfig, message: str, kind: type[GradgateError] = ConfigError
) -> None:
    run = RunFolder(prepared.folder)
    with pytest.raises(kind, match=message):
        pipeline.score(prepared, config, run)
    assert not run.scores.exists()


def test_the_table_is_the_one_that_this_machine_would_write(tmp_path: Path, state: Path) -> None:
    prepared, shards = scored_rows(tmp_path, some_rows(60))
    run = RunFolder(prepared.folder)
    taken = pipeline.score(prepared, config_of(prepared.folder, shards), run)
    table = pq.read_table(run.scores)
    assert (taken.n_scored, taken.summary.n_scored, taken.summary.n_reused) == (66, 0, 66)
    assert not (state / "scores.db").exists()
    here = pipeline.score(prepared, config_of(prepared.folder, None), run)
    again = pq.read_table(run.scores)
    assert (here.summary.n_scored, again.num_rows) == (60, 66)
    assert table.schema.equals(again.schema)
    for name in ("row", "sample_id", "n_target_tokens", "status", "reason"):
        assert table[name].equals(again[name])
    for one, other in zip(table["loss"].to_pylist(), again["loss"].to_pylist(), strict=True):
        assert one == pytest.approx(other, abs=2e-5)


def test_a_gate_decides_by_them(tmp_path: Path) -> None:
    prepared, shards = scored_rows(tmp_path, some_rows(60))
    verdicts = []
    for name, taken in (("taken", shards), ("here", None)):
        run = RunFolder(tmp_path / name)
        run.path.mkdir()
        verdicts.append(pipeline.run_gate(config_of(prepared.folder, taken), run))
    assert [verdict.n_scored for verdict in verdicts] == [66, 66]
    assert verdicts[0].decision == verdicts[1].decision
    assert verdicts[0].reasons == verdicts[1].reasons


def test_other_rows_are_refused(tmp_path: Path) -> None:
    _, shards = scored_rows(tmp_path, some_rows(30))
    others = prepared_at(tmp_path / "others", some_rows(29))
    refused(others, config_of(others.folder, shards), "prepared for other rows .33 samples of .*31")


def test_the_same_samples_in_other_rows_are_refused(tmp_path: Path) -> None:
    rows = some_rows(20)
    _, shards = scored_rows(tmp_path, rows)
    moved = prepared_at(tmp_path / "moved", [{"question": "x", "answers": 3}, *rows])
    refused(moved, config_of(moved.folder, shards), "prepared for other rows")


def test_other_tokens_of_the_same_rows_are_refused(tmp_path: Path) -> None:
    """By another date, chat template or tokenizer, as many as before."""
    prepared, shards = scored_rows(tmp_path, some_rows(20))
    path = RunFolder(prepared.folder).samples
    table = pq.read_table(path)
    ids = table["input_ids"].to_pylist()
    ids[3][1] += 1
    place = table.schema.get_field_index("input_ids")
    field = table.schema.field(place)
    pq.write_table(table.set_column(place, field, pa.array(ids, field.type)), path)
    refused(prepared, config_of(prepared.folder, shards), "prepared with other tokens than these")


def test_another_setting_is_refused(tmp_path: Path) -> None:
    prepared, shards = scored_rows(tmp_path, some_rows(20))
    config = config_of(prepared.folder, shards, dtype="bfloat16")
    refused(prepared, config, "dtype float32 and not bfloat16")
    k8 = ScoringConfig(k=8, from_shards=str(shards))
    config = config_of(prepared.folder, shards).model_copy(update={"scoring": k8})
    refused(prepared, config, "k 16 and not 8")


def test_workers_that_took_another_dtype_are_refused(tmp_path: Path) -> None:
    """`auto` is float32 on one machine and bfloat16 on another."""
    prepared = prepared_at(tmp_path / "rows", some_rows(20))
    folder, _ = planned(tmp_path / "shards", prepared)
    plan = tmp_path / "shards" / "plan.json"
    content = json.loads(plan.read_text())
    content["setting"]["dtype"] = None
    plan.write_text(json.dumps(content))
    scored(folder, 1)
    config = config_of(prepared.folder, tmp_path / "shards", dtype="bfloat16")
    refused(prepared, config, "was scored with another .*dtype float32 and not bfloat16")
    config = config_of(prepared.folder, tmp_path / "shards")
    assert pipeline.score(prepared, config, RunFolder(prepared.folder)).n_scored == 22


def test_what_is_missing_or_damaged_is_refused(tmp_path: Path) -> None:
    prepared, shards = scored_rows(tmp_path, some_rows(40))
    config = config_of(prepared.folder, shards)
    segment = shards / "segments" / "00002-of-00003.parquet"
    content = segment.read_bytes()
    segment.write_bytes(content[:-40])
    refused(prepared, config, "remove it and score its shard again", StoreError)
    segment.unlink()
    refused(prepared, config, "shard 2/3 is not published")
    nowhere = config_of(prepared.folder, tmp_path / "nowhere")
    refused(prepared, nowhere, "is not prepared")
    assert SCORING.from_shards is None
