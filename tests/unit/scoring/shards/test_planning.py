"""A folder is prepared once, and says what it is for."""

from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from shard_helpers import MODEL_CONFIG, SCORING, loaded_model, planned, prepared_at, some_rows

from gradgate.config import ScoringConfig
from gradgate.data.prepare import iter_prepared
from gradgate.data.tokens import content_digest
from gradgate.errors import ConfigError
from gradgate.safety.probes import ProbeSet
from gradgate.safety.source import BUILT_IN, ProbeSource
from gradgate.scoring.context import score_context
from gradgate.scoring.shards import plan as plan_module
from gradgate.scoring.shards import planning as planning_module
from gradgate.scoring.shards.folder import ShardFolder
from gradgate.scoring.shards.plan import Plan, samples_of
from gradgate.scoring.shards.planning import Recipe, write_plan
from gradgate.scoring.shards.worker import _probes
from helpers import identified


def test_every_row_finds_its_sample(tmp_path: Path) -> None:
    prepared = prepared_at(tmp_path / "prepared", some_rows(50))
    folder, plan = planned(tmp_path / "shards", prepared)
    units = plan.units(folder)
    samples = [s for number in range(len(units)) for s in samples_of(folder, units, number)]
    assert samples == sorted(samples, key=lambda sample: sample.input_ids)
    assert (len(samples), plan.n_samples, plan.n_tokens) == (
        50, 55, sum(unit.n_tokens for unit in units),
    )  # fmt: skip
    (window,) = iter_prepared(prepared.samples_path, 1_000)
    rows = pq.read_table(tmp_path / "shards" / "rows.parquet").to_pylist()
    for one, row in zip(window, rows, strict=True):
        assert (row["row"], row["sample_id"].hex()) == (one.row, one.sample_id)
        assert content_digest(samples[row["place"]]) == content_digest(one.tokens)
        assert row["n_tokens"] == len(one.tokens.input_ids)
    assert plan.longest == max(len(sample.input_ids) for sample in samples)
    assert plan.largest_id == max(max(sample.input_ids) for sample in samples)
    texts = {path.name for path in (tmp_path / "shards").rglob("*") if path.is_file()}
    assert texts == {"plan.json", "rows.parquet", "units.parquet", "00000.parquet"}


def test_the_same_again_is_left_as_it_is_and_another_is_refused(tmp_path: Path) -> None:
    prepared = prepared_at(tmp_path / "prepared", some_rows(30))
    folder, plan = planned(tmp_path / "shards", prepared)
    files = [path for path in (tmp_path / "shards").rglob("*") if path.is_file()]
    before = {path: path.stat().st_mtime_ns for path in files}
    assert planned(tmp_path / "shards", prepared)[1] == plan
    assert {path: path.stat().st_mtime_ns for path in files} == before
    with pytest.raises(ConfigError, match=r"other samples or settings \(setting differ\)"):
        planned(tmp_path / "shards", prepared, ScoringConfig(k=8))
    others = prepared_at(tmp_path / "others", some_rows(31))
    with pytest.raises(ConfigError, match=r"\(digest, fingerprint, n_rows, n_samples differ\)"):
        planned(tmp_path / "shards", others)
    assert Plan.read(folder) == plan


def test_the_work_of_many_units_is_in_several_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (plan_module, planning_module):
        monkeypatch.setattr(module, "UNITS_PER_FILE", 3)
    prepared = prepared_at(tmp_path / "prepared", some_rows(60))
    folder, plan = planned(tmp_path / "shards", prepared)
    assert len(folder.names("work")) == -(-plan.n_units // 3) > 2
    units = plan.units(folder)
    found = sum(len(samples_of(folder, units, number)) for number in range(plan.n_units))
    assert found == plan.n_places == 60


def test_the_probing_set_goes_with_it(tmp_path: Path) -> None:
    prepared = prepared_at(tmp_path / "prepared", some_rows(10))
    source = ProbeSource(BUILT_IN, ProbeSet.read(None))
    context = score_context(identified(loaded_model()), SCORING, source)
    folder = ShardFolder(tmp_path / "shards")
    plan = write_plan(folder, prepared, Recipe(context, MODEL_CONFIG, SCORING, source))
    assert plan.is_probed
    assert plan.setting["probing set"] == source.digest
    assert _probes(folder).digest == source.digest
    assert replace(plan, is_probed=False) != plan
