"""`gradgate prepare`, `score --shards` and `merge`: a dataset that many workers score."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gradgate.cli.lines import say, say_phase
from gradgate.cli.output import TABLE, make_folder, quiet_libraries, require_file
from gradgate.cli.phases import fetch, of_rows, progress
from gradgate.cli.table import of_entropies, require_a_score
from gradgate.common.files import temporary_folder, written_whole
from gradgate.common.redaction import redacted
from gradgate.common.run_folder import RunFolder
from gradgate.common.state import score_store
from gradgate.data.prepare import Prepared, rejection_reasons
from gradgate.data.sources.source import open_rows
from gradgate.errors import ConfigError, DataError
from gradgate.gate import pipeline
from gradgate.gate.asked import probes_of
from gradgate.gate.config import GateConfig
from gradgate.models.handle import ConfiguredModel
from gradgate.models.identity import identify_model
from gradgate.models.locating import from_anywhere
from gradgate.scoring.backends.backend import all_shards, backend_of
from gradgate.scoring.config import ScoreConfig
from gradgate.scoring.context import score_context
from gradgate.scoring.shards.drafts import (
    Draft,
    Drafts,
    OwnRows,
    refuse_other_rows,
    setting_of_rows,
    write_draft,
)
from gradgate.scoring.shards.folder import DRAFTS, PLAN, REJECTED, SCORES, ShardFolder
from gradgate.scoring.shards.merge import Merged, merge
from gradgate.scoring.shards.place import Shard, shard_named
from gradgate.scoring.shards.plan import Plan, Setting, refuse_others
from gradgate.scoring.shards.planning import Recipe, write_plan
from gradgate.scoring.shards.transfer import import_segment, segments_in
from gradgate.scoring.shards.worker import Published, Worker

_DECIDING = ("mode", "k", "batch_tokens")  # settings of scoring that the folder is prepared for


def run_draft(config: GateConfig, shards: str, shard: str) -> int:
    """Read all rows, and publish the samples of a part of them.

    Raises:
        GradgateError: The folder is of another configuration, or a step broke.
    """
    quiet_libraries()
    folder, chosen = ShardFolder(shards), _chosen(shard)
    source, setting = redacted(config.data.source), _setting_of_rows(config)
    if folder.has(PLAN):
        raise ConfigError(
            f"{folder.address} is prepared already; next: gradgate score --shards {folder.address}"
        )
    draft = Draft.read(folder, chosen)
    if draft is not None:
        refuse_other_rows(folder, draft, source, setting)
        say(f"draft {chosen} is there already: {_of_draft(folder, draft)}")
        return 0
    with _scratch(folder) as scratch:
        own = OwnRows(open_rows(config.data), chosen)
        prepared = pipeline.fetch(config, RunFolder(scratch), rows=own, keep_rows=False)
        draft = write_draft(folder, chosen, prepared, own.n_rows, setting)
    say(f"draft {chosen} of {draft.n_rows:,} rows: {_of_draft(folder, draft)}")
    return 0


def _of_draft(folder: ShardFolder, draft: Draft) -> str:
    return (
        f"{draft.n_samples:,} samples, {draft.n_rejected:,} rejected; when all {draft.count} are "
        f"there: gradgate prepare DATA --shards {folder.address}"
    )


def _setting_of_rows(config: GateConfig) -> Setting:
    model = ConfiguredModel(config.model)
    context = score_context(model.identify(), config.scoring)
    return setting_of_rows(config.data, context, model.limit(config.data.max_tokens))


def run_prepare(config: GateConfig, shards: str) -> int:
    """Write what workers need into the folder: from its drafts, or from the rows, read once.

    Raises:
        GradgateError: No row can be scored, or a step broke.
    """
    quiet_libraries()
    folder = ShardFolder(shards)
    is_planned, drafts = folder.has(PLAN), None
    if not is_planned and folder.names(DRAFTS):
        drafts = Drafts.read(folder, redacted(config.data.source), _setting_of_rows(config))
    with _scratch(folder) as scratch:
        if drafts is None:
            prepared = fetch(config, RunFolder(scratch), keep_rows=False)
        else:
            prepared = drafts.put_together(scratch)
            say_phase(f"put together {of_rows(prepared)}")
        if prepared.n_samples == 0:
            raise DataError(_of_nothing(prepared, None if drafts is None else folder))
        if prepared.n_rejected and not is_planned:  # the plan, written last, says that all is there
            _keep_rejected(folder, prepared, drafts)
        samples = None if drafts is None else drafts.windows()
        plan = write_plan(folder, prepared, _recipe(config), samples=samples)
    if drafts is not None:
        drafts.remove()
    _say_prepared(folder, prepared, plan)
    return 0


def _keep_rejected(folder: ShardFolder, prepared: Prepared, drafts: Drafts | None) -> None:
    if drafts is not None:
        drafts.write_rejected(REJECTED)
    else:
        folder.put(REJECTED, prepared.rejected_path.read_bytes())


def _of_nothing(prepared: Prepared, drafts: ShardFolder | None) -> str:
    why = f"none of the {prepared.n_rows} rows of {prepared.source} can be scored"
    if drafts is None:
        return f"{why}: {rejection_reasons(prepared)}"
    return f"{why}; the reasons are in {drafts.shown(DRAFTS)}"


def _recipe(config: GateConfig) -> Recipe:
    model, probes = identify_model(config.model), probes_of(config)
    context = score_context(model, config.scoring, probes)
    # Workers begin later: at the commit of today.
    settled = {"revision": model.identity["revision"] or config.model.revision}
    there = from_anywhere(config.model).model_copy(update=settled)
    return Recipe(context, there, config.scoring, probes)


def _say_prepared(folder: ShardFolder, prepared: Prepared, plan: Plan) -> None:
    if prepared.n_rejected:
        say(f"{prepared.n_rejected:,} rows rejected, reasons in {folder.shown(REJECTED)}")
    say(
        f"{plan.n_places:,} distinct samples, {plan.n_tokens:,} distinct tokens, "
        f"{plan.n_units:,} units of work: {folder.address}"
    )
    first = f"1/{min(8, plan.n_units)}"
    say(f"next: gradgate score --shards {folder.address} --shard {first}, and so on")


@contextmanager
def _scratch(folder: ShardFolder) -> Iterator[Path]:
    """A folder for the samples with their texts: beside the shards on a disk, which has room."""
    if folder.local is not None:
        make_folder(folder.local / SCORES)
    with temporary_folder(".prepare-", folder.local) as path:
        yield path


def config_of_shards(shards: str) -> dict[str, Any]:
    """The configuration that a folder of shards was prepared with."""
    plan = Plan.read(ShardFolder(shards))
    return {"data": {"source": plan.source}, **plan.config}


def run_score_shards(config: ScoreConfig, shards: str, shard: str | None) -> int:
    """Score one shard, or all that are not published yet, and publish their segments.

    Raises:
        GradgateError: The configuration is another than the folder's, or a step broke.
    """
    quiet_libraries()
    folder = ShardFolder(shards)
    plan = Plan.read(folder)
    wanted = {name: plan.config["scoring"][name] for name in _DECIDING}
    found = {name: getattr(config.scoring, name) for name in _DECIDING}
    refuse_others(f"{folder.address} was prepared", wanted, "here", found)
    if shard is not None:
        return _score_one(folder, config, shard)
    say_phase(f"scoring {plan.n_places:,} samples with {config.model.path} ...")
    n_done = 0
    with progress(plan.n_places) as on_progress:
        for done in backend_of(config.scoring)(shards, all_shards(folder, plan), config.model):
            n_done += done.n_samples
            on_progress(n_done, plan.n_places)
            say_phase(_of_shard(folder, done))
    say(f"all shards are published; next: gradgate merge {folder.address}")
    return 0


def _score_one(folder: ShardFolder, config: ScoreConfig, shard: str) -> int:
    chosen = _chosen(shard)
    worker = Worker.of_plan(folder, config.model)
    say_phase(f"scoring shard {chosen} with {config.model.path} ...")
    with progress(worker.n_samples(chosen)) as on_progress:
        done = worker.score(chosen, on_progress)
    say(_of_shard(folder, done))
    return 0


def _chosen(shard: str) -> Shard:
    """As `shard_named`; what the scheduler said is told."""
    chosen, how = shard_named(shard, os.environ)
    if how is not None:
        say(f"shard {chosen}, by {how}")
    return chosen


def _of_shard(folder: ShardFolder, done: Published) -> str:
    return (
        f"shard {done.shard}: {done.n_samples:,} samples, {done.n_scored:,} of them scored now: "
        f"{folder.shown(done.name)}"
    )


def run_merge(shards: str, output: Path | None, no_store: bool) -> int:
    """Put the segments of all shards together; 0, or 1 when samples could not be scored.

    Raises:
        GradgateError: A segment is missing, damaged or of another configuration, or none has a
            score.
    """
    quiet_libraries()
    folder = ShardFolder(shards)
    plan = Plan.read(folder)
    if output is not None:
        require_file(output, *TABLE)
        make_folder(output)
    written = folder.written(SCORES) if output is None else written_whole(output)
    shown = folder.shown(SCORES) if output is None else str(output)
    with written as part:
        merged = merge(folder, plan, part)
        require_a_score(part, str(plan.config["model"]["path"]))
        lines = [_of_merged(merged, shown), *of_entropies(part)]
    for line in lines:
        say(line)
    if merged.n_failed:
        say(f"{merged.n_failed:,} rows could not be scored; `reason` in {shown} says why")
    if not no_store and plan.config["scoring"]["store"]:
        _import(folder)
    folder.clear_leftovers()
    return 1 if merged.n_failed else 0


def _of_merged(merged: Merged, shown: str) -> str:
    line = (
        f"{merged.n_segments:,} segments: {merged.n_rows:,} rows ({merged.n_unique:,} distinct, "
        f"{merged.n_failed:,} failed): {shown}"
    )
    if len(merged.made) == 1:
        return line
    names = sorted({k for one in merged.made for k in one if one[k] != merged.made[0].get(k)})
    return (
        f"{line}; made by {len(merged.made)} kinds of workers, which differ in "
        f"{', '.join(names)}: scores of another split are equal within rounding only"
    )


def _import(folder: ShardFolder) -> None:
    path, n_samples = score_store(), 0
    for name in segments_in(folder):
        n_samples += import_segment(folder, name, path).n_samples
    say(f"{n_samples:,} scores are in {path}, where gates on this machine find them")
