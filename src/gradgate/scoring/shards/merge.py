"""The segments of all shards become the score table: checked against the plan, without a text.

Every unit of the plan must be there once, with the scores of its own samples, all of one
configuration. What is not so is refused by name. Gradient recurrence, which needs all samples at
once, is computed here from their sketches.
"""

import os
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Self

import numpy as np

from gradgate.common.arrays import Ints
from gradgate.common.files import put_in_place, work_folder
from gradgate.config import ModelConfig, ScoringConfig
from gradgate.errors import ConfigError, StoreError
from gradgate.gradients.score import Score
from gradgate.scoring.draft import Draft, TableRow
from gradgate.scoring.shards.folder import SEGMENTS, ShardFolder
from gradgate.scoring.shards.place import Shard
from gradgate.scoring.shards.plan import Plan, refuse_others
from gradgate.scoring.shards.segment import (
    About,
    DamagedSegmentError,
    Line,
    Made,
    read_about,
    read_segment,
    score_of,
)
from gradgate.scoring.shards.units import Unit, keys_digest, units_of
from gradgate.scoring.shards.worker import shard_of
from gradgate.scoring.store.row import ScoreContext

_WINDOW = 2_048  # rows that are written together
_NAMED = 8  # shards that a message names


@dataclass(frozen=True)
class Segment:
    """A published segment, and what it says of itself."""

    name: str
    about: About


@dataclass(frozen=True)
class Merged:
    """What was put together.

    Attributes:
        n_segments: Segments that hold scores.
        n_rows: Of the table.
        n_unique: Distinct samples among them.
        n_failed: Rows without a score.
        made: By what hardware and software, each once; several make scores equal within rounding.
    """

    n_segments: int
    n_rows: int
    n_unique: int
    n_failed: int
    made: list[Made]


def merge(
    folder: ShardFolder, plan: Plan, output: Path, keys: Iterable[bytes] | None = None
) -> Merged:
    """Write the score table of all shards.

    Args:
        folder: Where every shard is published.
        plan: Of the folder.
        output: The Parquet file to write; it appears when it is whole.
        keys: Of the samples whose scores are wanted (`content_digest`), in row order; None: of
            those that the folder was prepared for.

    Raises:
        ConfigError: A shard is missing, or was scored by another configuration, or the samples are
            of other tokens.
        StoreError: A segment is damaged, overlaps with another, or holds others' scores.
        TransientError: The store does not answer.
    """
    units = plan.units(folder)
    segments = covering(folder, plan, units)
    mode = ScoringConfig.model_validate(plan.config["scoring"]).mode
    with work_folder(output) as work, _Records(work) as records:
        for segment in segments:
            for lines in checked_lines(folder, segment, units):
                records.add(lines)
        with Draft(work, mode) as draft:
            _add_rows(folder, plan, segments[0].about.score_context, records, draft, keys)
        draft.write(work / output.name, _metadata(plan, segments))
        put_in_place(work / output.name, output)
    made = [one for segment in segments for one in segment.about.made]
    once = [one for number, one in enumerate(made) if one not in made[:number]]
    return Merged(len(segments), plan.n_samples, plan.n_unique, draft.n_failed, once)


def covering(folder: ShardFolder, plan: Plan, units: Sequence[Unit]) -> list[Segment]:
    """The segments in the order of their units, when they hold every unit once; errors as above."""
    found = [_segment(folder, name) for name in folder.names(SEGMENTS)]
    wanted = {**plan.setting}
    for segment in found:
        wanted["dtype"] = wanted["dtype"] or segment.about.setting["dtype"]
        _check_configuration(folder, segment, plan, wanted)
    found = [one for one in found if one.about.first_unit < one.about.end_unit]
    found.sort(key=lambda one: (one.about.first_unit, one.about.end_unit))
    missing: list[range] = []
    end = 0
    for number, segment in enumerate(found):
        first = segment.about.first_unit
        if first < end:
            raise StoreError(
                f"{folder.shown(found[number - 1].name)} and {folder.shown(segment.name)} overlap "
                f"in unit {first}; remove one of them, and what else belongs to its split"
            )
        if first > end:
            missing.append(range(end, first))
        end = segment.about.end_unit
    if end < len(units):
        missing.append(range(end, len(units)))
    if missing:
        raise ConfigError(_what_is_missing(folder, found, units, missing))
    if end > len(units):
        raise StoreError(f"{folder.shown(found[-1].name)} goes beyond the last unit; remove it")
    return found


def _segment(folder: ShardFolder, name: str) -> Segment:
    path = f"{SEGMENTS}/{name}"
    shard = shard_of(name)
    if shard is None:
        raise StoreError(f"{folder.shown(path)} is not named like a segment; move it away")
    try:
        return Segment(path, read_about(folder, path))
    except DamagedSegmentError as error:
        raise DamagedSegmentError(f"{error}; {_cure(folder, shard)}") from error


def _cure(folder: ShardFolder, shard: Shard) -> str:
    command = f"gradgate score --shards {folder.address} --shard {shard}"
    return f"remove it and score its shard again: {command}"


def _check_configuration(
    folder: ShardFolder, segment: Segment, plan: Plan, wanted: dict[str, str | int | None]
) -> None:
    shown = folder.shown(segment.name)
    shard = _shard(segment)
    assert shard is not None
    whose, cure = f"{shown} was scored", _cure(folder, shard)
    refuse_others(whose, segment.about.setting, "in the other shards", wanted, cure)
    if segment.about.plan != plan.digest:
        raise ConfigError(
            f"{shown} is of other samples than {folder.address} was prepared for; remove it"
        )


def _what_is_missing(
    folder: ShardFolder, found: list[Segment], units: Sequence[Unit], missing: list[range]
) -> str:
    if not found:
        return f"{folder.address} has no scores yet: no shard is published"
    counts = Counter(shard.count for one in found if (shard := _shard(one)) is not None)
    count = counts.most_common(1)[0][0]
    gone = {number for numbers in missing for number in numbers}
    shards = [
        str(shard)
        for shard in (Shard(index, count) for index in range(count))
        if gone.intersection(units_of(shard, units))
    ]
    named = ", ".join(shards[:_NAMED]) + (", ..." if len(shards) > _NAMED else "")
    return (
        f"{folder.address} lacks {len(gone):,} of {len(units):,} units of work: "
        f"{'shard' if len(shards) == 1 else 'shards'} {named} "
        f"{'is' if len(shards) == 1 else 'are'} not published; "
        f"gradgate score --shards {folder.address} --shard {shards[0]}"
    )


def _shard(segment: Segment) -> Shard | None:
    return shard_of(segment.name.rpartition("/")[2])


def checked_lines(
    folder: ShardFolder, segment: Segment, units: Sequence[Unit]
) -> Iterator[list[Line]]:
    """The lines of a segment, unit by unit, which are those of the plan's samples.

    Raises:
        DamagedSegmentError: They are not, or the segment is damaged.
    """
    about, shard = segment.about, _shard(segment)
    assert shard is not None
    number = about.first_unit
    try:
        for lines in read_segment(folder, segment.name):
            is_right = number < about.end_unit and (
                keys_digest(key for key, _ in lines) == units[number].digest
            )
            if not is_right:
                shown = folder.shown(segment.name)
                raise DamagedSegmentError(f"{shown} has other samples in its unit {number}")
            number += 1
            yield lines
        if number != about.end_unit:
            raise DamagedSegmentError(f"{folder.shown(segment.name)} ends before its last unit")
    except DamagedSegmentError as error:
        raise DamagedSegmentError(f"{error}; {_cure(folder, shard)}") from error


class _Records:
    """Keys and records by the places of their samples, in a file."""

    def __init__(self, folder: Path) -> None:
        self._file: IO[bytes] = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115
        self._sizes: list[Ints] = [np.zeros(1, dtype=np.int64)]
        self._starts: Ints | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def add(self, lines: Sequence[Line]) -> None:
        """Append those of the next places."""
        self._file.writelines(key + record for key, record in lines)
        self._sizes.append(np.array([len(key) + len(record) for key, record in lines]))

    def get(self, places: Sequence[int]) -> dict[int, Line]:
        """What stands at some places, when all was added; read in the order of the file."""
        if self._starts is None:
            self._file.flush()
            self._starts = np.cumsum(np.concatenate(self._sizes))
            self._sizes = []
        found: dict[int, Line] = {}
        for place in sorted(set(places)):
            start, stop = (int(one) for one in self._starts[place : place + 2])
            content = os.pread(self._file.fileno(), stop - start, start)
            found[place] = content[:32], content[32:]
        return found


def _add_rows(
    folder: ShardFolder,
    plan: Plan,
    context: ScoreContext,
    records: _Records,
    draft: Draft,
    keys: Iterable[bytes] | None,
) -> None:
    """Draft the lines of all rows, each with the score of its sample."""
    n_rows = 0
    wanted = None if keys is None else iter(keys)
    for batch in plan.rows(folder, _WINDOW):
        lines = batch.to_pylist()
        found = records.get([line["place"] for line in lines])
        rows = [
            TableRow(
                line["row"], line["sample_id"].hex(), line["n_tokens"], found[line["place"]][0]
            )
            for line in lines
        ]
        if wanted is not None and any(row.key != next(wanted, None) for row in rows):
            raise ConfigError(
                f"{folder.address} was prepared with other tokens than these: the tokenizer, the "
                "chat template or data.template_date differs; prepare another folder"
            )
        draft.add(rows, [_score(context, *found[line["place"]]) for line in lines])
        n_rows += len(lines)
    if n_rows != plan.n_samples:
        raise StoreError(f"{folder.address} places {n_rows} rows, and not {plan.n_samples}")


def _score(context: ScoreContext, key: bytes, record: bytes) -> Score:
    score = score_of(context, key, record)
    if score is None:
        raise DamagedSegmentError(f"the record of sample {key.hex()[:12]} lacks a signal")
    return score


def _metadata(plan: Plan, segments: Sequence[Segment]) -> dict[str, str]:
    """What the table says of itself: the same in whatever shards it was computed."""
    model, context = ModelConfig.model_validate(plan.config["model"]), segments[0].about.context
    devices = sorted({str(one["device"]) for segment in segments for one in segment.about.made})
    facts = {
        "mode": plan.config["scoring"]["mode"],
        "k": context["k"],
        "dtype": context["dtype"],
        "device": ", ".join(devices),
        "dataset_fingerprint": plan.fingerprint,
        "probes_sha256": context.get("probes_sha256"),
        "model_path": model.path,
        "model_revision": context["model_revision"],
        "model_sha256": context["model_sha256"],
        "model_adapter": model.adapter,
        "model_adapter_sha256": context["adapter_sha256"],
    }
    return {f"gradgate.{name}": str(value) for name, value in facts.items() if value is not None}
