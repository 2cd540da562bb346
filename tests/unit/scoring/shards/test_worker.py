"""Workers that share nothing but a folder, and the table that their segments make."""

import copy
import logging
import math
import random
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from harm_helpers import write_few_probes
from shard_helpers import (
    digest,
    loaded_model,
    merged,
    planned,
    prepared_at,
    scored,
    some_rows,
    worker_at,
)

from gradgate.common.run_folder import SCORE_SCHEMA
from gradgate.config import SafetyConfig, ScoringConfig
from gradgate.data.prepare import Prepared
from gradgate.errors import ConfigError, StoreError
from gradgate.gradients.signals import SIGNALS
from gradgate.safety.source import ProbeSource
from gradgate.scoring.run import score_dataset
from gradgate.scoring.shards import plan as plan_module
from gradgate.scoring.shards.folder import PARTS, PROBES, SEGMENTS, ShardFolder
from gradgate.scoring.shards.place import Shard
from gradgate.scoring.shards.plan import Plan
from gradgate.scoring.shards.worker import part_name, segment_name
from helpers import identified


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return prepared_at(tmp_path_factory.mktemp("prepared"), some_rows())


def test_the_table_is_the_same_bytes_however_many_shards_there_are(
    tmp_path: Path, prepared: Prepared
) -> None:
    digests = set()
    for count in (1, 8, 20):  # the last has more shards than units
        folder, plan = planned(tmp_path / str(count), prepared)
        assert 4 < plan.n_units < 20
        scored(folder, count, random.Random(count).sample(range(count), count))
        found = merged(folder, tmp_path / f"{count}.parquet")
        assert (found.n_rows, found.n_unique, found.n_failed) == (66, 60, 0)
        assert len(found.made) == 1
        digests.add(digest(tmp_path / f"{count}.parquet"))
    assert len(digests) == 1


def test_the_table_is_that_of_one_process_within_rounding(
    tmp_path: Path, prepared: Prepared
) -> None:
    folder, _ = planned(tmp_path / "shards", prepared)
    scored(folder, 4)
    merged(folder, tmp_path / "merged.parquet")
    model = identified(loaded_model())
    score_dataset(prepared, model, ScoringConfig(), tmp_path / "alone.parquet")
    one, other = (pq.read_table(tmp_path / f"{name}.parquet") for name in ("merged", "alone"))
    assert one.schema.equals(SCORE_SCHEMA)
    for name in ("row", "sample_id", "n_target_tokens", "status", "reason", "fihs_all"):
        assert one[name].equals(other[name]), name
    for name in ("spectral_entropy", "entropy_full", "loss", "gradient_norm"):
        assert one[name].to_pylist() == pytest.approx(other[name].to_pylist(), abs=1e-4), name
    near = one["gradient_recurrence"].to_pylist()
    assert near == pytest.approx(other["gradient_recurrence"].to_pylist(), abs=2e-2)
    facts = {k: v for k, v in other.schema.metadata.items() if k in one.schema.metadata}
    assert facts == {k: v for k, v in one.schema.metadata.items() if k in facts}
    assert {b"gradgate.mode", b"gradgate.dtype", b"gradgate.model_sha256"} <= set(facts)


def test_what_is_published_is_skipped_and_what_is_kept_is_gone_on_with(
    tmp_path: Path, prepared: Prepared
) -> None:
    folder, plan = planned(tmp_path / "shards", prepared)
    kept = tmp_path / "shards" / "kept.parquet"
    shard = Shard(1, 2)

    class KilledError(Exception):
        pass

    def killed_after_three(done: int, total: int) -> None:
        if len(folder.names(PARTS)) == 3:
            raise KilledError

    with pytest.raises(KilledError):
        worker_at(folder).score(shard, killed_after_three)
    names = folder.names(PARTS)
    assert len(names) == 3
    content = (tmp_path / "shards" / PARTS / names[0]).read_bytes()
    kept.write_bytes(content)
    done = worker_at(folder).score(shard)
    first = int(names[0].partition(".")[0])
    in_parts = sum(unit.n_samples for unit in plan.units(folder)[first : first + 3])
    assert done.n_scored == done.n_samples - in_parts
    assert folder.names(PARTS) == []
    again = worker_at(folder).score(shard)
    assert (again.n_samples, again.n_scored, again.n_computed_tokens) == (done.n_samples, 0, 0)


def test_units_that_another_split_has_kept_are_taken(tmp_path: Path, prepared: Prepared) -> None:
    folder, plan = planned(tmp_path / "shards", prepared)
    worker = worker_at(folder)
    worker._score_unit(0)
    done = worker_at(folder).score(Shard(0, 1))
    assert done.n_scored == done.n_samples - plan.units(folder)[0].n_samples


def test_a_damaged_part_or_segment_is_made_anew(
    tmp_path: Path, prepared: Prepared, caplog: pytest.LogCaptureFixture
) -> None:
    folder, _ = planned(tmp_path / "shards", prepared)
    worker = worker_at(folder)
    worker._score_unit(0)
    part = tmp_path / "shards" / part_name(0)
    part.write_bytes(part.read_bytes()[:-40])
    with caplog.at_level(logging.WARNING):
        done = worker.score(Shard(0, 1))
    assert done.n_scored == done.n_samples
    segment = tmp_path / "shards" / segment_name(Shard(0, 1))
    whole = segment.read_bytes()
    segment.write_bytes(whole[: len(whole) // 2])
    assert worker.score(Shard(0, 1)).n_scored == done.n_samples
    assert segment.read_bytes() == whole
    assert [("damaged" in one) for one in caplog.messages] == [True, True]


def test_two_workers_of_one_shard_do_not_disturb_one_another(
    tmp_path: Path, prepared: Prepared
) -> None:
    folder, _ = planned(tmp_path / "shards", prepared)
    shard = Shard(0, 2)
    was_there: list[bool] = []

    def other_is_faster(done: int, total: int) -> None:
        if done == total and not was_there:
            was_there.append(True)
            worker_at(folder).score(shard)  # publishes, and removes the parts

    done = worker_at(folder).score(shard, other_is_faster)
    assert folder.names(SEGMENTS) == [segment_name(shard).rpartition("/")[2]]
    assert done.n_scored == done.n_samples


@pytest.mark.parametrize("where", ["plan", "scores"])
@pytest.mark.parametrize(
    ("what", "named"),
    [("k", "k 16 and not 8"), ("model", "model [0-9a-f]{12} and not bbbb"), ("dtype", "dtype")],
)
def test_another_configuration_is_refused(
    tmp_path: Path, prepared: Prepared, where: str, what: str, named: str
) -> None:
    folder, plan = planned(tmp_path / "shards", prepared)
    model, scoring = identified(loaded_model()), ScoringConfig()
    if what == "k":
        scoring = ScoringConfig(k=8)
    elif what == "model":
        model = replace(model, identity={**model.identity, "sha256": "b" * 64})
    else:
        import torch

        model = replace(model, dtype=torch.bfloat16)
    if where == "scores":  # as if the plan did not say
        worker_at(folder).score(Shard(0, 3))
        context = worker_at(folder)._context
        others = {**plan.setting, "k": 8, "model": "b" * 64, "dtype": "bfloat16"}
        if what != "k":
            others["k"] = context.k
        if what != "model":
            others["model"] = context.model_sha256
        if what != "dtype":
            others["dtype"] = "float32"
        replace(plan, setting=others).write(folder)
    with pytest.raises(ConfigError, match=named):
        worker_at(folder, model, scoring)


def test_another_probing_set_is_refused(tmp_path: Path, prepared: Prepared) -> None:
    """By whoever prepares, by a worker that finds another file, and in what was scored before."""
    few = SafetyConfig(probes=str(write_few_probes(tmp_path / "few.json")))
    built_in, other = ProbeSource.read(SafetyConfig()), ProbeSource.read(few)
    at = tmp_path / "shards"
    folder, plan = planned(at, prepared, probes=other)
    with pytest.raises(ConfigError, match=r"other samples or settings \(setting differ\)"):
        planned(at, prepared, probes=built_in)
    with pytest.raises(ConfigError, match="is_probed"):
        planned(at, prepared)
    worker_at(folder).score(Shard(0, 3))
    folder.put(PROBES, built_in.probes.model_dump_json().encode())
    with pytest.raises(ConfigError, match="probing set"):
        worker_at(folder)
    replace(plan, setting={**plan.setting, "probing set": built_in.digest}).write(folder)
    with pytest.raises(ConfigError, match=r"was scored with .*probing set"):
        worker_at(folder)
    folder.put(PROBES, b"{")
    with pytest.raises(StoreError, match=r"probes\.json is damaged"):
        worker_at(folder)


def test_another_version_of_a_signal_is_refused(
    tmp_path: Path, prepared: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, _ = planned(tmp_path / "shards", prepared)
    newer = (*SIGNALS[:3], replace(SIGNALS[3], version=9), *SIGNALS[4:])
    monkeypatch.setattr(plan_module, "SIGNALS", newer)
    with pytest.raises(ConfigError, match="version of loss 2 and not 9"):
        worker_at(folder)


def test_a_dtype_that_the_hardware_decides_is_the_first_workers(
    tmp_path: Path, prepared: Prepared
) -> None:
    folder, plan = planned(tmp_path / "shards", prepared)
    replace(plan, setting={**plan.setting, "dtype": None}).write(folder)
    worker_at(folder).score(Shard(0, 2))
    import torch

    with pytest.raises(ConfigError, match="dtype float32 and not bfloat16"):
        worker_at(folder, replace(identified(loaded_model()), dtype=torch.bfloat16))


def test_a_folder_that_is_not_prepared_or_is_damaged_is_refused(
    tmp_path: Path, prepared: Prepared
) -> None:
    with pytest.raises(ConfigError, match="not prepared"):
        Plan.read(ShardFolder(tmp_path / "nothing"))
    folder, plan = planned(tmp_path / "shards", prepared)
    work = tmp_path / "shards" / "work" / "00000.parquet"
    content = work.read_bytes()
    planned(tmp_path / "other", prepared_at(tmp_path / "b", some_rows(40)))
    work.write_bytes((tmp_path / "other" / "work" / "00000.parquet").read_bytes())
    with pytest.raises(StoreError, match=r"00000.parquet is damaged"):
        scored(folder, 1)
    work.write_bytes(content[:-9])
    with pytest.raises(StoreError, match=r"00000.parquet is damaged"):
        scored(folder, 1)
    work.write_bytes(content)
    replace(plan, digest="c" * 64).write(folder)
    with pytest.raises(StoreError, match=r"units.parquet is not the one"):
        worker_at(folder)
    folder.put("plan.json", b'{"format": 1}')
    with pytest.raises(StoreError, match="damaged"):
        worker_at(folder)
    folder.put("plan.json", b'{"format": 99}')
    with pytest.raises(ConfigError, match="format 99"):
        worker_at(folder)


def test_a_sample_that_fails_never_has_a_score(tmp_path: Path, prepared: Prepared) -> None:
    """The embedding of one token is NaN: what has it fails, in whatever shard."""
    loaded = loaded_model()
    broken = replace(loaded, model=copy.deepcopy(loaded.model))
    token = loaded.tokenizer.convert_tokens_to_ids(loaded.tokenizer.tokenize("pkg"))[-1]
    broken.model.get_input_embeddings().weight.data[token] = math.nan
    head = broken.model.get_output_embeddings()
    if head.weight is broken.model.get_input_embeddings().weight:
        head.weight = type(head.weight)(loaded.model.get_output_embeddings().weight.clone())
    broken = replace(broken, head=head)
    rows = some_rows(20)
    asked = {"question": "What is pkg for?", "answers": ["a name"]}
    folder, _ = planned(
        tmp_path / "shards", prepared_at(tmp_path / "p", [*rows[:5], asked, *rows[5:], asked])
    )
    for index in range(3):
        worker_at(folder, identified(broken)).score(Shard(index, 3))
    found = merged(folder, tmp_path / "scores.parquet")
    assert found.n_failed >= 2
    lines = pq.read_table(tmp_path / "scores.parquet").to_pylist()
    failed = [line for line in lines if line["status"] == "failed"]
    assert {5, len(lines) - 1} <= {line["row"] for line in failed}
    assert len(failed) == found.n_failed < len(lines)
    for line in failed:
        assert "not finite" in line["reason"]
        assert line["spectral_entropy"] is line["gradient_recurrence"] is line["loss"] is None
