"""A segment: the scores of consecutive units, or of a store, in one file that is never changed.

A Parquet file with two columns, the digest of a sample's tokens and its record as the score store
has it, with a checksum over sample and context (`store.row`). Its metadata say what it is, and its
own digest over all of that: a file that is cut, changed or of another configuration is known by
itself.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

import pyarrow as pa
import pyarrow.parquet as pq

from gradgate.common.json_values import parse_json
from gradgate.data.sources.source_errors import is_transient
from gradgate.errors import StoreError
from gradgate.gradients.score import Score
from gradgate.scoring.shards.folder import ShardFolder
from gradgate.scoring.shards.plan import Setting, setting_of
from gradgate.scoring.store.row import ScoreContext, decode

FORMAT = 1
_ABOUT, _ABOUT_DIGEST, _DIGEST = "gradgate.segment", "gradgate.segment_sha256", "gradgate.sha256"

SEGMENT_SCHEMA = pa.schema(
    [
        pa.field("key", pa.binary(32), nullable=False),  # SHA-256 over token ids and loss mask
        pa.field("record", pa.binary(), nullable=False),
    ]
)

Line = tuple[bytes, bytes]  # key, record
Made = dict[str, str | int | None]


class DamagedSegmentError(StoreError):
    """A segment that is cut, changed, or none."""


@dataclass(frozen=True)
class About:
    """What a segment says of itself.

    Attributes:
        context: What decided the scores (`ScoreContext.described`).
        setting: The same and the versions of all signals, as people know them.
        plan: Digest of the plan that its units are of; None for rows of a score store.
        first_unit: Of the plan.
        end_unit: Behind the last.
        made: By what hardware and software: scores of others are equal within rounding. Several,
            where a shard was gone on with elsewhere.
    """

    context: dict[str, str | int | None]
    setting: Setting
    plan: str | None = None
    first_unit: int = 0
    end_unit: int = 0
    made: list[Made] = field(default_factory=list)
    format: int = FORMAT

    @classmethod
    def of(cls, context: ScoreContext, **more: Any) -> Self:
        """What is said of scores of a context."""
        return cls(context.described, setting_of(context), **more)

    @property
    def score_context(self) -> ScoreContext:
        """For the score store.

        Raises:
            TypeError: Of another version of gradgate.
        """
        return ScoreContext(**self.context)  # type: ignore[arg-type]

    def to_json(self) -> str:
        """The same text for the same content."""
        return json.dumps(asdict(self), sort_keys=True)


def write_segment(path: Path, about: About, groups: Iterable[Iterable[Line]]) -> int:
    """Write a segment; the number of its samples.

    Args:
        path: On this machine.
        about: What it says of itself.
        groups: Lines in order; each group is read at a time later.
    """
    text, n_lines = about.to_json(), 0
    digest = _begun(text)
    # No line repeats another, and nobody asks for the smallest key.
    plain: dict[str, Any] = {"use_dictionary": False, "write_statistics": False}
    with pq.ParquetWriter(path, SEGMENT_SCHEMA, compression="zstd", **plain) as writer:
        for group in groups:
            lines = list(group)
            n_lines += len(lines)
            _add(digest, lines)
            columns = [[key for key, _ in lines], [record for _, record in lines]]
            if lines:
                writer.write_table(pa.table(columns, schema=SEGMENT_SCHEMA))
        metadata = {_ABOUT: text, _ABOUT_DIGEST: _begun(text).hexdigest()}
        writer.add_key_value_metadata({**metadata, _DIGEST: digest.hexdigest()})
    return n_lines


def read_about(folder: ShardFolder, name: str) -> About:
    """What a segment says of itself; the lines are not read.

    Raises:
        DamagedSegmentError: It is cut, or no segment.
        StoreError: It is of another version of gradgate, or cannot be read.
    """
    with _opened(folder, name) as file:
        return _about(file)[0]


def read_segment(folder: ShardFolder, name: str) -> Iterator[list[Line]]:
    """The lines of a segment, group by group; the last group comes when all of it was checked.

    Raises:
        DamagedSegmentError: It is cut, changed, or no segment; also behind the first groups.
        StoreError: As for `read_about`.
    """
    with _opened(folder, name) as file:
        about, expected = _about(file)
        digest = _begun(about.to_json())
        waiting: list[Line] = []
        for number in range(file.num_row_groups):
            table = file.read_row_group(number, columns=SEGMENT_SCHEMA.names)
            lines = list(zip(*(column.to_pylist() for column in table.columns), strict=True))
            _add(digest, lines)
            if waiting:
                yield waiting
            waiting = lines
        if digest.hexdigest() != expected:
            raise ValueError("its digest is another")
        if waiting:
            yield waiting


def score_of(context: ScoreContext, key: bytes, record: bytes) -> Score | None:
    """The score in a line; None where it lacks a signal of today.

    Raises:
        DamagedSegmentError: The record is of another sample or context.
    """
    found = decode(context, key, record)
    if found is None:
        raise DamagedSegmentError(f"the record of sample {key.hex()[:12]} is another's")
    return found.score(context.is_probed)


@contextmanager
def _opened(folder: ShardFolder, name: str) -> Iterator[pq.ParquetFile]:
    with folder.opened(name) as file:
        try:
            yield pq.ParquetFile(file, pre_buffer=False)
        except (ValueError, KeyError, TypeError, OSError, EOFError, pa.ArrowException) as error:
            if is_transient(error):
                raise
            why = " ".join(str(error).split())
            raise DamagedSegmentError(
                f"{folder.shown(name)} is damaged or no segment ({why})"
            ) from error


def _about(file: pq.ParquetFile) -> tuple[About, str]:
    found: Mapping[bytes, bytes] = file.metadata.metadata or {}
    metadata = {name.decode(): value.decode() for name, value in found.items()}
    text = metadata.get(_ABOUT)
    if text is None or metadata[_ABOUT_DIGEST] != _begun(text).hexdigest():
        raise ValueError("it does not say of what")
    content = parse_json(text)
    if content["format"] != FORMAT:
        raise StoreError(
            f"a segment has format {content['format']}, this gradgate knows {FORMAT}; "
            "take the version that wrote it"
        )
    if not file.schema_arrow.equals(SEGMENT_SCHEMA):
        raise ValueError("its columns are others")
    return About(**content), metadata[_DIGEST]


def _begun(about: str) -> "hashlib._Hash":
    digest = hashlib.sha256(len(about).to_bytes(8, "big"))
    digest.update(about.encode("utf-8"))
    return digest


def _add(digest: "hashlib._Hash", lines: Iterable[Line]) -> None:
    for key, record in lines:
        digest.update(key + len(record).to_bytes(8, "big") + record)
