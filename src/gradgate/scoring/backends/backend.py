"""A backend scores the shards of a folder; which one it is makes no score another."""

from collections.abc import Iterator, Sequence
from typing import Protocol

from gradgate.config import ModelConfig, ScoringConfig
from gradgate.scoring.backends.local import score_here
from gradgate.scoring.shards.folder import SEGMENTS, ShardFolder
from gradgate.scoring.shards.place import Shard
from gradgate.scoring.shards.plan import Plan
from gradgate.scoring.shards.worker import Published, shard_of

_UNITS = 16  # of a shard, about: a worker that is done soon finds another
_FEWEST = 16  # shards, for the last ones to end together


class Backend(Protocol):
    """Scores shards."""

    def __call__(
        self, address: str, shards: Sequence[Shard], model: ModelConfig
    ) -> Iterator[Published]:
        """Score shards, and say of each that it is published, in any order.

        Args:
            address: Of the folder; all workers see it.
            shards: Those that are published are left as they are.
            model: Where workers find the model.

        Raises:
            GradgateError: A worker refuses, or dies again and again; what was published stays.
        """


def backend_of(config: ScoringConfig) -> Backend:
    """The configured one.

    Raises:
        ConfigError: What it needs is not installed.
    """
    if config.backend == "local":
        return score_here
    from gradgate.scoring.backends.ray import RayBackend

    return RayBackend(config.ray)


def all_shards(folder: ShardFolder, plan: Plan) -> list[Shard]:
    """All shards of a folder: as many as it is split into already, or some for each worker."""
    known = [shard for name in folder.names(SEGMENTS) if (shard := shard_of(name)) is not None]
    most = min(plan.n_units, max(_FEWEST, -(-plan.n_units // _UNITS)))
    count = known[0].count if known else most
    return [Shard(index, count) for index in range(count)]
