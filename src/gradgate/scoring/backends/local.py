"""This process scores all shards, one after another."""

from collections.abc import Iterator, Sequence

from gradgate.config import ModelConfig
from gradgate.scoring.shards.folder import ShardFolder
from gradgate.scoring.shards.place import Shard
from gradgate.scoring.shards.worker import Published, Worker


def score_here(address: str, shards: Sequence[Shard], model: ModelConfig) -> Iterator[Published]:
    """Score shards; see `backend.Backend`."""
    worker = Worker.of_plan(ShardFolder(address), model)
    for shard in shards:
        yield worker.score(shard)
