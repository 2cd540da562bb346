"""Workers of Ray score shards: each an actor that loads the model once.

An actor has one shard at a time and gets the next when it says that it is done, so that nothing
piles up anywhere. It writes its segment into the folder, and only the segment's name and counts
go through Ray. One that dies is replaced, and its shard goes on behind its last unit.
"""

import logging
import os
import sys
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from typing import Any

from gradgate.config import ModelConfig, RayConfig
from gradgate.errors import ConfigError, GradgateError, ModelError
from gradgate.models.locating import from_anywhere
from gradgate.scoring.shards.folder import ShardFolder
from gradgate.scoring.shards.place import Shard
from gradgate.scoring.shards.worker import Published, Worker

# Before Ray is imported. A report of its use would go to its makers.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # leave CUDA_VISIBLE_DEVICES

try:
    import ray
    from ray.exceptions import RayError, RayTaskError
except ImportError as error:
    raise ConfigError(
        "scoring.backend ray needs the package ray: pip install 'gradgate[ray]'"
    ) from error

logger = logging.getLogger(__name__)

_MOST_DEATHS = 3  # of workers on one shard, before it is the shard's fault
_OBJECTS_BYTES = 128 * 2**20  # of Ray's object store, which holds names and counts


class _Actor:
    """A worker in a process of its own."""

    def __init__(self, address: str, model: dict[str, Any], n_threads: int) -> None:
        self._address, self._model, self._n_threads = address, model, n_threads
        self._worker: Worker | None = None

    def score(self, index: int, count: int) -> tuple[str, int, int, int]:
        """Score a shard: name of its segment, samples, samples and tokens computed now."""
        if self._worker is None:  # here, so that what goes wrong is told to who asks
            import torch

            torch.set_num_threads(self._n_threads)
            model = ModelConfig.model_validate(self._model)
            self._worker = Worker.of_plan(ShardFolder(self._address), model)
        done = self._worker.score(Shard(index, count))
        return done.name, done.n_samples, done.n_scored, done.n_computed_tokens


class RayBackend:
    """Scores shards on a cluster of Ray."""

    def __init__(self, config: RayConfig) -> None:
        """Take the settings; nothing is started."""
        self._config = config

    def __call__(
        self, address: str, shards: Sequence[Shard], model: ModelConfig
    ) -> Iterator[Published]:
        """Score shards; see `backend.Backend`."""
        folder = ShardFolder(address).local
        address = address if folder is None else str(folder.absolute())
        # Ray prints that a worker died; stdout is for results.
        with redirect_stdout(sys.stderr), _cluster(self._config):
            there = from_anywhere(model).model_dump()
            arguments = (address, there, max(1, int(self._config.cpus)))
            kind, n_workers = self._kind(model)
            pool = _Pool(lambda: kind.remote(*arguments), shards)
            try:
                yield from pool.run(min(n_workers, len(shards)))
            finally:
                pool.close()

    def _kind(self, model: ModelConfig) -> tuple[Any, int]:
        """The class of actors with their share of the cluster, and how many fit."""
        there = ray.cluster_resources()
        cpus, gpus = self._config.cpus, self._config.gpus
        if gpus is None:
            gpus = 1.0 if there.get("GPU") and model.device != "cpu" else 0.0
        shares = [("CPU", cpus), *([("GPU", gpus)] if gpus else [])]
        most = min(int(there.get(kind, 0.0) / share + 1e-6) for kind, share in shares)
        n_workers = self._config.workers or most
        if not 1 <= n_workers <= most:
            raise ConfigError(
                f"{n_workers} workers of {cpus:g} processors and {gpus:g} GPUs do not fit into "
                f"{there.get('CPU', 0.0):g} processors and {there.get('GPU', 0.0):g} GPUs of the "
                "cluster; make scoring.ray.workers, cpus or gpus smaller"
            )
        options = {"num_cpus": cpus, "num_gpus": gpus, "max_restarts": 0, "max_task_retries": 0}
        return ray.remote(**options)(_Actor), n_workers


class _Pool:
    """Actors, each with a shard in hand, and the shards that wait for one."""

    def __init__(self, new_actor: Callable[[], Any], shards: Sequence[Shard]) -> None:
        self._new_actor = new_actor
        self._todo = deque(shards)
        self._deaths = Counter[Shard]()
        self._running: dict[Any, tuple[Any, Shard]] = {}  # by what is awaited

    def run(self, n_actors: int) -> Iterator[Published]:
        """Hand out all shards, and say what became of each."""
        for _ in range(n_actors):
            self._start(self._new_actor())
        while self._running:
            (ready, *_), _ = ray.wait(list(self._running), num_returns=1)
            actor, shard = self._running.pop(ready)
            try:
                done = Published(shard, *ray.get(ready))
            except RayTaskError as error:
                raise _told(error) from error
            except RayError as error:
                self._note_death(shard, error)
                self._start(self._new_actor())
                continue
            self._start(actor)
            yield done

    def close(self) -> None:
        """End the actors that still run."""
        for actor, _ in self._running.values():
            ray.kill(actor)

    def _start(self, actor: Any) -> None:
        """Give an actor the next shard, or let it go."""
        if not self._todo:
            ray.kill(actor)
            return
        shard = self._todo.popleft()
        self._running[actor.score.remote(shard.index, shard.count)] = actor, shard

    def _note_death(self, shard: Shard, error: RayError) -> None:
        self._deaths[shard] += 1
        if self._deaths[shard] == _MOST_DEATHS:
            raise _deadly(shard, error) from error
        logger.warning("a worker died on shard %s; another goes on with it", shard)
        self._todo.appendleft(shard)


def _told(error: RayTaskError) -> Exception:
    """What a worker says, as if it had been said here."""
    cause = error.cause
    return cause if isinstance(cause, GradgateError) else error


def _deadly(shard: Shard, error: RayError) -> ModelError:
    why = " ".join(str(error).split())
    return ModelError(
        f"{_MOST_DEATHS} workers died on shard {shard}, the last one so: {why[:300]}; give workers "
        "more memory, or make scoring.batch_tokens smaller"
    )


@contextmanager
def _cluster(config: RayConfig) -> Iterator[None]:
    """The cluster; one of this machine is started, and ended afterwards."""
    if ray.is_initialized():
        yield
        return
    quiet = {"include_dashboard": False, "log_to_driver": False, "logging_level": "ERROR"}
    try:
        if config.address is None:
            n_cpus = None if config.workers is None else max(1, round(config.workers * config.cpus))
            ray.init("local", num_cpus=n_cpus, object_store_memory=_OBJECTS_BYTES, **quiet)
        else:
            ray.init(config.address, log_to_driver=False, logging_level="ERROR")
    except (ConnectionError, RayError, ValueError, RuntimeError) as error:
        where, why = config.address or "of this machine", " ".join(str(error).split())
        raise ConfigError(f"the Ray cluster {where} cannot be used: {why}") from error
    try:
        yield
    finally:
        ray.shutdown()
