"""Drafts: the rows of a dataset, tokenized by many workers before one of them writes the plan.

Every worker reads all rows, which is quick, and tokenizes those of its own blocks. A draft is two
tables and, written last, what it says of itself. Drafts are put together in the order of the
source, so that the plan is the one that a single worker would have written.
"""

import hashlib
import heapq
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from itertools import islice
from operator import itemgetter
from pathlib import Path
from typing import Any, Self

import pyarrow as pa
import pyarrow.parquet as pq

from gradgate.common.files import file_sha256
from gradgate.common.json_values import parse_json
from gradgate.common.parquet import GROUP_ROWS, GroupWriter, batches
from gradgate.common.run_folder import REJECTED_SCHEMA
from gradgate.common.scratch import count_distinct
from gradgate.config import DataConfig
from gradgate.data.prepare import Prepared, PreparedSample, iter_prepared
from gradgate.data.rows.row import RawRow
from gradgate.data.sample import fingerprint
from gradgate.data.tokens import Tokens
from gradgate.errors import ConfigError, StoreError
from gradgate.scoring.shards.folder import DRAFTS, ShardFolder
from gradgate.scoring.shards.place import Shard
from gradgate.scoring.shards.plan import (
    Setting,
    checked,
    refuse_other_format,
    refuse_others,
)
from gradgate.scoring.store.row import ScoreContext

FORMAT = 1
BLOCK_ROWS = 1_024  # of the source, that go to the same worker
_WINDOW = 2_048  # rows that are read together
_NAMED = 8  # drafts that a message names
_CURE = "make all drafts with the same data, model and settings, or name another folder"

_SAMPLES, _REJECTED, _SUMMARY = "parquet", "rejected.parquet", "json"  # endings of a draft's files
_TABLES = (_SAMPLES, _REJECTED)

DRAFT_SCHEMA = pa.schema(  # in the order of the source
    [
        pa.field("row", pa.int64(), nullable=False),
        pa.field("sample_id", pa.binary(32), nullable=False),
        pa.field("input_ids", pa.list_(pa.int32()), nullable=False),
        pa.field("is_target", pa.list_(pa.bool_()), nullable=False),
    ]
)


@dataclass(frozen=True)
class Draft:
    """What a draft says of itself.

    Attributes:
        index: Of its shard, from 0; count: of all.
        source: `DataConfig.source` without credentials.
        n_rows: Of the whole source, so that workers notice when they read others.
        n_samples: Of its own blocks.
        n_rejected: The same.
        setting: What decides the tokens of a row.
        files: SHA-256 of its tables, by name.
    """

    index: int
    count: int
    source: str
    n_rows: int
    n_samples: int
    n_rejected: int
    setting: Setting
    files: dict[str, str]
    format: int = FORMAT

    @property
    def shard(self) -> Shard:
        """Which part of the rows it has."""
        return Shard(self.index, self.count)

    @classmethod
    def read(cls, folder: ShardFolder, shard: Shard) -> Self | None:
        """What is said of a shard; None where it is not published.

        Raises:
            ConfigError: It is of another version of gradgate.
            StoreError: It is damaged, or cannot be read.
            TransientError: The store does not answer.
        """
        name = _name(shard, _SUMMARY)
        if not folder.has(name):
            return None
        try:
            content = parse_json(folder.read(name))
            refuse_other_format(content["format"], FORMAT, folder.shown(name))
            found = cls(**content)
        except (ValueError, TypeError, KeyError) as error:
            raise _damaged(folder, shard, str(error)) from error
        if found.shard != shard:
            raise _damaged(folder, shard, f"it is of shard {found.shard}")
        return found


def setting_of_rows(data: DataConfig, context: ScoreContext, max_tokens: int) -> Setting:
    """What decides the tokens of a row besides the row, by names that people know."""
    given = data.model_dump_json(exclude={"source", "max_rejected_fraction", "min_rows"})
    return {
        "model": context.model_sha256,
        "revision": context.model_revision,
        "adapter": context.adapter_sha256,
        "longest sample": max_tokens,
        "settings of data": hashlib.sha256(given.encode("utf-8")).hexdigest(),
    }


class OwnRows:
    """The rows of a shard, out of all.

    The first readable row comes with them, whoever has it, for it decides on the format.
    """

    def __init__(self, rows: Iterable[RawRow], shard: Shard) -> None:
        """Take the rows of the source."""
        self.n_rows = 0
        self._rows = rows
        self._shard = shard

    def __iter__(self) -> Iterator[RawRow]:
        """Read all, and count them; errors as of the source."""
        is_known = False
        for row in self._rows:
            self.n_rows += 1
            if is_own(row.row, self._shard) or not (is_known or row.value is None):
                yield row
            is_known = is_known or row.value is not None


def is_own(row: int, shard: Shard) -> bool:
    """Whether a row of the source is a shard's."""
    return row // BLOCK_ROWS % shard.count == shard.index


def write_draft(
    folder: ShardFolder, shard: Shard, prepared: Prepared, n_rows: int, setting: Setting
) -> Draft:
    """Publish a shard's rows.

    Args:
        folder: Without it.
        shard: Which.
        prepared: Of `OwnRows`.
        n_rows: Of the whole source.
        setting: `setting_of_rows`.

    Raises:
        StoreError: It cannot be written.
        TransientError: The store does not answer.
    """
    files, samples, rejected = {}, _name(shard, _SAMPLES), _name(shard, _REJECTED)
    with folder.written(samples) as part:
        n_samples = _write_samples(part, prepared, shard)
        files[samples] = file_sha256(part)
    with folder.written(rejected) as part:
        n_rejected = _write_rejected(part, _rejected_of(prepared.rejected_path, shard))
        files[rejected] = file_sha256(part)
    counts = n_rows, n_samples, n_rejected
    draft = Draft(shard.index, shard.count, prepared.source, *counts, setting, files)
    content = json.dumps(asdict(draft), indent=2) + "\n"
    folder.put(_name(shard, _SUMMARY), content.encode("ascii"))
    return draft


def _write_samples(path: Path, prepared: Prepared, shard: Shard) -> int:
    n_samples = 0
    with pq.ParquetWriter(path, DRAFT_SCHEMA, compression="zstd") as writer:
        for window in iter_prepared(prepared.samples_path, _WINDOW):
            own = [one for one in window if is_own(one.row, shard)]
            n_samples += len(own)
            columns = [
                [one.row for one in own],
                [bytes.fromhex(one.sample_id) for one in own],
                [one.tokens.input_ids for one in own],
                [one.tokens.is_target for one in own],
            ]
            writer.write_table(pa.table(columns, schema=DRAFT_SCHEMA))
    return n_samples


def _write_rejected(path: Path, rows: Iterable[dict[str, Any]]) -> int:
    with closing(GroupWriter(path, REJECTED_SCHEMA)) as writer:
        for row in rows:
            writer.add(row, len(row["content"]))
        return writer.n_rows


def _rejected_of(path: Path, shard: Shard) -> Iterator[dict[str, Any]]:
    for batch in batches(path, REJECTED_SCHEMA, GROUP_ROWS):
        yield from (row for row in batch.to_pylist() if is_own(row["row"], shard))


class Drafts:
    """The drafts of all shards of a dataset."""

    def __init__(self, folder: ShardFolder, drafts: Sequence[Draft]) -> None:
        """Take them in the order of their shards."""
        self._folder = folder
        self._drafts = drafts

    @classmethod
    def read(cls, folder: ShardFolder, source: str, setting: Setting) -> Self | None:
        """The drafts of a folder; None where it has none at all.

        Args:
            folder: Where they may be.
            source: Without credentials.
            setting: `setting_of_rows` of whoever puts them together.

        Raises:
            ConfigError: One is missing, they are of several splits, or of another configuration.
            StoreError: One is damaged, or cannot be read.
            TransientError: The store does not answer.
        """
        shards = _published(folder)
        if not shards:
            return None
        count = shards[0].count
        if any(shard.count != count for shard in shards):
            counts = sorted({shard.count for shard in shards})
            raise ConfigError(
                f"{folder.shown(DRAFTS)} holds drafts of several splits (of "
                f"{' and of '.join(map(str, counts))}); delete those that are not wanted"
            )
        there = {shard.index for shard in shards}
        missing = (str(Shard(i, count)) for i in range(count) if i not in there)
        if named := list(islice(missing, _NAMED)):
            raise ConfigError(
                f"{count - len(there):,} of {count:,} drafts are missing in {folder.address}, "
                f"{', '.join(named)} among them; say gradgate prepare DATA --shards "
                f"{folder.address} --shard {named[0]}"
            )
        drafts = [draft for shard in shards if (draft := Draft.read(folder, shard)) is not None]
        for draft in drafts:
            refuse_other_rows(folder, draft, source, setting)
        if len({draft.n_rows for draft in drafts}) > 1:
            shown = ", ".join(f"{draft.shard}: {draft.n_rows:,}" for draft in drafts)
            raise ConfigError(
                f"the source changed while the drafts in {folder.address} were made (rows by "
                f"draft {shown}); delete {folder.shown(DRAFTS)} and make them again"
            )
        return cls(folder, drafts)

    @property
    def n_rejected(self) -> int:
        """Rows that are no samples."""
        return sum(draft.n_rejected for draft in self._drafts)

    def put_together(self, scratch: Path) -> Prepared:
        """What `prepare` says of all the rows; its files are not written.

        Raises:
            StoreError: A draft is damaged, or cannot be read.
            TransientError: The store does not answer.
        """
        first = self._drafts[0]
        for draft in self._drafts:
            self._check(draft)
        return Prepared(
            folder=scratch,
            source=first.source,
            row_format=None,
            columns={},
            n_rows=first.n_rows,
            n_samples=sum(draft.n_samples for draft in self._drafts),
            n_rejected=self.n_rejected,
            n_unique=count_distinct(self._sample_ids()),
            fingerprint=fingerprint(self._sample_ids()),
        )

    def windows(self) -> Iterator[list[PreparedSample]]:
        """The samples in the order of the source, some at a time; errors as of `put_together`."""
        rows = self._merged(DRAFT_SCHEMA.names, _SAMPLES)
        while lines := list(islice(rows, _WINDOW)):
            yield [
                PreparedSample(
                    line["row"],
                    line["sample_id"].hex(),
                    Tokens(line["input_ids"], line["is_target"]),
                )
                for line in lines
            ]

    def write_rejected(self, name: str) -> None:
        """Write the rejected rows of all, in the order of the source; errors as of both."""
        with self._folder.written(name) as part:
            _write_rejected(part, self._merged(REJECTED_SCHEMA.names, _REJECTED))

    def remove(self) -> None:
        """Delete them; errors as of the folder."""
        endings = (_SUMMARY, *_TABLES)  # what says that they are there, first
        names = (_name(draft.shard, end) for end in endings for draft in self._drafts)
        self._folder.remove(names)

    def _sample_ids(self) -> Iterator[str]:
        return (line["sample_id"].hex() for line in self._merged(["row", "sample_id"], _SAMPLES))

    def _merged(self, columns: Sequence[str], kind: str) -> Iterator[dict[str, Any]]:
        streams = [self._lines(draft, columns, kind) for draft in self._drafts]
        return heapq.merge(*streams, key=itemgetter("row"))

    def _lines(self, draft: Draft, columns: Sequence[str], kind: str) -> Iterator[dict[str, Any]]:
        name = _name(draft.shard, kind)
        with checked(self._folder, name), self._folder.opened(name) as file:
            table = pq.ParquetFile(file, pre_buffer=False)
            for batch in table.iter_batches(_WINDOW, columns=list(columns)):
                yield from batch.to_pylist()

    def _check(self, draft: Draft) -> None:
        """Refuse tables that are not those of the draft."""
        for kind in _TABLES:
            name = _name(draft.shard, kind)
            with self._folder.opened(name) as file:
                if hashlib.file_digest(file, "sha256").hexdigest() != draft.files.get(name):
                    raise _damaged(self._folder, draft.shard, f"{name} has another digest")


def _published(folder: ShardFolder) -> list[Shard]:
    """The shards whose drafts are whole, by the names of their summaries."""
    names = (re.fullmatch(r"(\d+)-of-(\d+)\.json", name, re.ASCII) for name in folder.names(DRAFTS))
    shards = (Shard(int(name[1]) - 1, int(name[2])) for name in names if name is not None)
    return sorted(shard for shard in shards if 0 <= shard.index < shard.count)


def refuse_other_rows(folder: ShardFolder, draft: Draft, source: str, setting: Setting) -> None:
    """Refuse a draft of other data, or by another model or settings.

    Raises:
        ConfigError: It names what differs.
    """
    whose = f"draft {draft.shard} in {folder.address} was made"
    wanted, found = {"source": draft.source, **draft.setting}, {"source": source, **setting}
    refuse_others(whose, wanted, "here", found, _CURE)


def _damaged(folder: ShardFolder, shard: Shard, why: str) -> StoreError:
    return StoreError(
        f"draft {shard} in {folder.address} is damaged ({why}); delete "
        f"{folder.shown(_name(shard, '*'))} and make it again"
    )


def _name(shard: Shard, ending: str) -> str:
    return f"{DRAFTS}/{shard.index + 1:05d}-of-{shard.count:05d}.{ending}"
