"""The score table of a gate's run, taken from a folder of shards instead of the score store."""

import time
from collections.abc import Iterator
from pathlib import Path

from gradgate.common.parquet import PART_ROWS, batches
from gradgate.data.prepare import Prepared, iter_prepared
from gradgate.data.tokens import content_digest
from gradgate.errors import ConfigError
from gradgate.scoring.run import ScoringSummary
from gradgate.scoring.shards.folder import SEGMENTS, ShardFolder
from gradgate.scoring.shards.merge import merge
from gradgate.scoring.shards.plan import Plan, refuse_others, setting_of
from gradgate.scoring.shards.segment import read_about
from gradgate.scoring.store.row import ScoreContext


def take_scores(
    address: str, prepared: Prepared, context: ScoreContext, output: Path
) -> ScoringSummary:
    """Merge the segments of a folder into the score table of these rows, and of no others.

    Args:
        address: Folder of shards, each of which is published.
        prepared: The rows of the run.
        context: What decides a score here.
        output: The Parquet file to write; it is there when everything fits.

    Raises:
        ConfigError: The folder was prepared for other rows, settings or another model, or a shard
            is missing.
        StoreError: A segment is damaged, or the folder cannot be read.
        TransientError: The store does not answer.
    """
    started = time.perf_counter()
    folder = ShardFolder(address)
    plan = Plan.read(folder)
    setting = setting_of(context)
    plan.check(setting, folder)
    if plan.fingerprint != prepared.fingerprint:
        raise _other_rows(folder, plan, prepared)
    for name in folder.names(SEGMENTS)[:1]:  # the merge holds the others against it
        about = read_about(folder, f"{SEGMENTS}/{name}")
        refuse_others(f"{folder.address} was scored", about.setting, "here", setting)
    keys = (
        content_digest(sample.tokens)
        for some in iter_prepared(prepared.samples_path, PART_ROWS)
        for sample in some
    )
    merged = merge(folder, plan, output, keys)
    if any(a != b for a, b in zip(_rows(output), _rows(prepared.samples_path), strict=True)):
        output.unlink()
        raise _other_rows(folder, plan, prepared)
    return ScoringSummary(
        n_rows=merged.n_rows,
        n_unique=merged.n_unique,
        n_scored=0,
        n_reused=merged.n_rows,
        n_failed=merged.n_failed,
        n_tokens=0,
        n_computed_tokens=0,
        no_reuse=None,
        seconds=time.perf_counter() - started,
    )


def _rows(path: Path) -> Iterator[int]:
    """The numbers of a table's rows."""
    for batch in batches(path, ["row"], PART_ROWS):
        yield from batch["row"].to_pylist()


def _other_rows(folder: ShardFolder, plan: Plan, prepared: Prepared) -> ConfigError:
    return ConfigError(
        f"{folder.address} was prepared for other rows ({plan.n_samples:,} samples of "
        f"{plan.source}) than these ({prepared.n_samples:,} of {prepared.source}); prepare another "
        "folder, or leave scoring.from_shards out"
    )
