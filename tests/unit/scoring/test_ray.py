"""Workers of Ray: the scores of a process alone, also when workers die.

One cluster serves the file; an actor that scores imports torch, so that only one test has them.
"""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import ray
from shard_helpers import (
    MODEL_CONFIG,
    digest,
    merged,
    planned,
    prepared_at,
    scored,
    some_rows,
)

from gradgate.config import RayConfig, ScoringConfig
from gradgate.errors import ConfigError, ModelError, StoreError
from gradgate.scoring.backends import ray as backend_module
from gradgate.scoring.backends.backend import all_shards, backend_of
from gradgate.scoring.backends.ray import RayBackend
from gradgate.scoring.shards.place import Shard
from gradgate.scoring.shards.worker import Published


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    """Two processors of this machine."""
    ray.init(
        "local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR",
        object_store_memory=128 * 2**20,
    )  # fmt: skip
    yield
    ray.shutdown()


def actors() -> list[psutil.Process]:
    """Processes of this cluster that score."""
    children = psutil.Process().children(recursive=True)
    return [one for one in children if one.name().startswith("ray::_Actor")]


def test_a_worker_that_is_killed_is_replaced_and_nothing_is_lost(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    prepared = prepared_at(tmp_path / "prepared", some_rows(80))
    folder, plan = planned(tmp_path / "shards", prepared)
    scoring = ScoringConfig.model_validate({"backend": "ray", "ray": {"workers": 2}})
    shards = all_shards(folder, plan)
    published: list[Published] = []
    assert len(shards) > 8
    for done in backend_of(scoring)(str(tmp_path / "shards"), shards, MODEL_CONFIG):
        if not published:
            actors()[0].send_signal(signal.SIGKILL)  # each has a shard in hand
        published.append(done)
    assert "a worker died on shard" in caplog.text
    assert sorted(done.shard for done in published) == shards
    assert sum(done.n_samples for done in published) == plan.n_places == 80
    assert 0 < sum(done.n_computed_tokens for done in published) <= plan.n_tokens
    assert psutil.wait_procs(actors(), timeout=60)[1] == []
    merged(folder, tmp_path / "ray.parquet")
    alone, _ = planned(tmp_path / "alone", prepared)
    scored(alone, 1)
    merged(alone, tmp_path / "alone.parquet")
    assert digest(tmp_path / "ray.parquet") == digest(tmp_path / "alone.parquet")
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"


def test_a_shard_on_which_workers_die_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    class Dying:
        def __init__(self, *arguments: object) -> None:
            pass

        def score(self, index: int, count: int) -> tuple[str, int, int, int]:
            if index == 1:
                os._exit(1)
            return "name", 5, 5, 9

    monkeypatch.setattr(backend_module, "_Actor", Dying)
    found = RayBackend(RayConfig(workers=1))("folder", [Shard(0, 2), Shard(1, 2)], MODEL_CONFIG)
    assert next(found).n_samples == 5
    with pytest.raises(ModelError, match="3 workers died on shard 2/2"):
        next(found)


def test_what_a_worker_refuses_is_told_as_it_says_it(monkeypatch: pytest.MonkeyPatch) -> None:
    class Refusing:
        def __init__(self, *arguments: object) -> None:
            pass

        def score(self, index: int, count: int) -> tuple[str, int, int, int]:
            from gradgate.errors import StoreError

            raise StoreError("the disk is full")

    monkeypatch.setattr(backend_module, "_Actor", Refusing)
    found = RayBackend(RayConfig(workers=1))("folder", [Shard(0, 1)], MODEL_CONFIG)
    with pytest.raises(StoreError, match=r"^the disk is full$"):
        next(found)


@pytest.mark.parametrize("config", [{"workers": 3}, {"cpus": 3.0}, {"gpus": 1.0}, {"cpus": 0.1}])
def test_more_workers_than_fit_are_refused(config: dict[str, float]) -> None:
    backend = RayBackend(RayConfig.model_validate(config))
    if config == {"cpus": 0.1}:
        assert backend._kind(MODEL_CONFIG)[1] == 20
        return
    with pytest.raises(ConfigError, match="do not fit into 2 processors and 0 GPUs"):
        next(backend("folder", [Shard(0, 1)], MODEL_CONFIG))
