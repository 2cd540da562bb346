"""What the tests of shards share: a prepared folder, and workers with one model in memory."""

from collections.abc import Iterable, Mapping
from functools import cache
from hashlib import sha256
from pathlib import Path

from gradgate.config import DataConfig, ModelConfig, ScoringConfig
from gradgate.data.prepare import Prepared, prepare
from gradgate.models.identity import IdentifiedModel, load_model
from gradgate.models.loading import LoadedModel
from gradgate.safety.source import ProbeSource
from gradgate.scoring.context import score_context
from gradgate.scoring.shards.folder import ShardFolder
from gradgate.scoring.shards.merge import Merged, merge
from gradgate.scoring.shards.place import Shard
from gradgate.scoring.shards.plan import Plan
from gradgate.scoring.shards.planning import Recipe, write_plan
from gradgate.scoring.shards.worker import Worker
from helpers import MODEL, diverse_rows, identified, write_jsonl

MODEL_CONFIG = ModelConfig(path=str(MODEL), device="cpu", dtype="float32")
SCORING = ScoringConfig()
UNIT_TOKENS = 200  # small, so that a few rows have many units


@cache
def loaded_model() -> LoadedModel:
    return load_model(MODEL_CONFIG)


def some_rows(n: int = 60) -> list[dict[str, object]]:
    """Questions with answers; the first ones come again."""
    rows = diverse_rows(n)
    return [*rows, *rows[: n // 10]]


def prepared_at(folder: Path, rows: Iterable[Mapping[str, object]]) -> Prepared:
    folder.mkdir(parents=True, exist_ok=True)
    config = DataConfig(source=str(write_jsonl(folder / "rows.jsonl", rows)))
    return prepare(config, loaded_model().tokenizer, 512, folder)


def planned(
    address: str | Path,
    prepared: Prepared,
    scoring: ScoringConfig = SCORING,
    unit_tokens: int = UNIT_TOKENS,
    probes: ProbeSource | None = None,
) -> tuple[ShardFolder, Plan]:
    """A folder of shards that is ready for workers."""
    folder = ShardFolder(address)
    context = score_context(identified(loaded_model()), scoring, probes)
    recipe = Recipe(context, MODEL_CONFIG, scoring, probes)
    return folder, write_plan(folder, prepared, recipe, unit_tokens)


def worker_at(
    folder: ShardFolder, model: IdentifiedModel | None = None, scoring: ScoringConfig = SCORING
) -> Worker:
    return Worker(folder, Plan.read(folder), model or identified(loaded_model()), scoring)


def scored(folder: ShardFolder, count: int, order: Iterable[int] | None = None) -> None:
    """Score all shards, each by a worker of its own."""
    for index in range(count) if order is None else order:
        worker_at(folder).score(Shard(index, count))


def merged(folder: ShardFolder, output: Path) -> Merged:
    return merge(folder, Plan.read(folder), output)


def digest(path: Path) -> str:
    return sha256(path.read_bytes()).hexdigest()
