"""The plan in the folder: what is scored, by what, and in which units; every worker reads it."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any, Self

import pyarrow as pa
import pyarrow.parquet as pq

from gradgate.common.json_values import parse_json
from gradgate.data.tokens import Tokens, content_digest
from gradgate.errors import ConfigError, StoreError
from gradgate.gradients.signals import SIGNALS
from gradgate.scoring.shards.folder import PLAN, ROWS, UNITS, WORK, ShardFolder
from gradgate.scoring.shards.units import Unit, digest_of, keys_digest
from gradgate.scoring.store.row import ScoreContext

FORMAT = 1
UNITS_PER_FILE = 1_024

UNIT_SCHEMA = pa.schema(
    [
        pa.field("first", pa.int64(), nullable=False),
        pa.field("n_samples", pa.int64(), nullable=False),
        pa.field("n_tokens", pa.int64(), nullable=False),
        pa.field("digest", pa.binary(32), nullable=False),
    ]
)
WORK_SCHEMA = pa.schema(  # a row group a unit
    [
        pa.field("input_ids", pa.list_(pa.int32()), nullable=False),
        pa.field("is_target", pa.list_(pa.bool_()), nullable=False),
    ]
)
ROW_SCHEMA = pa.schema(  # in the order of the source
    [
        pa.field("row", pa.int64(), nullable=False),
        pa.field("sample_id", pa.binary(32), nullable=False),
        pa.field("place", pa.int64(), nullable=False),  # of its sample in prefix order
        pa.field("n_tokens", pa.int32(), nullable=False),
    ]
)

Setting = dict[str, str | int | None]


def setting_of(context: ScoreContext) -> Setting:
    """What decides a score besides the sample, by names that people know."""
    setting: Setting = {
        "model": context.model_sha256,
        "revision": context.model_revision,
        "adapter": context.adapter_sha256,
        "k": context.k,
        "dtype": context.dtype,
        "probing set": context.probes_sha256,
    }
    versions = {
        f"version of {signal.name}": signal.version
        for signal in SIGNALS
        if context.is_probed or not signal.of_probes
    }
    return setting | versions


@dataclass(frozen=True)
class Plan:
    """What the folder was prepared for.

    Attributes:
        digest: Over what is scored, its order and its units (`units.digest_of`).
        source: `DataConfig.source` without credentials.
        fingerprint: Hash of the samples in row order.
        n_rows: Of the source; n_samples of them are samples.
        n_unique: Distinct samples by their content.
        n_places: Distinct samples by their tokens: so many are scored.
        n_units: Units of work.
        n_tokens: Distinct tokens of all units.
        longest: Tokens of the longest sample.
        largest_id: The largest id of a token.
        files: SHA-256 of the other files that the merge rests on, by name.
        setting: What decides a score (`setting_of`); a dtype of None is for the first worker.
        config: The sections `model` and `scoring` of a configuration.
        is_probed: Whether samples are held against a probing set.
    """

    digest: str
    source: str
    fingerprint: str
    n_rows: int
    n_samples: int
    n_unique: int
    n_places: int
    n_units: int
    n_tokens: int
    longest: int
    largest_id: int
    files: dict[str, str]
    setting: Setting
    config: dict[str, Any]
    is_probed: bool
    format: int = FORMAT

    def write(self, folder: ShardFolder) -> None:
        """Write it down, last of all: it says that the folder is prepared."""
        folder.put(PLAN, (json.dumps(asdict(self), indent=2) + "\n").encode("ascii"))

    @classmethod
    def read(cls, folder: ShardFolder) -> Self:
        """Read it.

        Raises:
            ConfigError: The folder is not prepared, or by another version of gradgate.
            StoreError: It is damaged, or cannot be read.
            TransientError: The store does not answer.
        """
        if not folder.has(PLAN):
            raise ConfigError(
                f"{folder.address} is not prepared: it has no {PLAN}; "
                "say `gradgate prepare DATA --model MODEL --shards FOLDER` first"
            )
        try:
            content = parse_json(folder.read(PLAN))
            refuse_other_format(content["format"], FORMAT, folder.shown(PLAN))
            return cls(**content)
        except (ValueError, TypeError, KeyError) as error:
            raise StoreError(f"{folder.shown(PLAN)} is damaged; prepare another folder") from error

    def check(self, setting: Mapping[str, str | int | None], folder: ShardFolder) -> None:
        """Refuse a worker that would compute other scores than the folder is for.

        Raises:
            ConfigError: It names what differs.
        """
        wanted = dict(self.setting)
        if wanted["dtype"] is None:
            wanted["dtype"] = setting["dtype"]
        refuse_others(f"{folder.address} was prepared", wanted, "here", setting)

    def units(self, folder: ShardFolder) -> list[Unit]:
        """The units of work.

        Raises:
            StoreError: They are not those of the plan.
        """
        with checked(folder, UNITS), folder.opened(UNITS) as file:
            units = [Unit(**row) for row in pq.read_table(file, schema=UNIT_SCHEMA).to_pylist()]
        if len(units) != self.n_units or digest_of(units) != self.digest:
            raise StoreError(
                f"{folder.shown(UNITS)} is not the one of {PLAN}; prepare another folder"
            )
        return units

    def rows(self, folder: ShardFolder, batch_rows: int) -> Iterator[pa.RecordBatch]:
        """Rows of the source with the places of their samples (`ROW_SCHEMA`), in order.

        Raises:
            StoreError: The file is damaged, or not the one of the plan.
        """
        with checked(folder, ROWS), folder.opened(ROWS) as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != self.files.get(ROWS):
                raise ValueError("its digest is another")
            file.seek(0)
            yield from pq.ParquetFile(file, pre_buffer=False).iter_batches(batch_rows)


def refuse_other_format(found: object, known: int, shown: str) -> None:
    """Refuse a file of another version of gradgate.

    Raises:
        ConfigError: It says which.
    """
    if found != known:
        raise ConfigError(
            f"{shown} has format {found}, this gradgate knows {known}; prepare another folder with "
            "this version"
        )


@contextmanager
def checked(folder: ShardFolder, name: str) -> Iterator[None]:
    """Turn damage of a file of the plan into a `StoreError` that names it."""
    try:
        yield
    except (ValueError, KeyError, TypeError, pa.ArrowException) as error:
        why = " ".join(str(error).split())
        raise StoreError(
            f"{folder.shown(name)} is damaged ({why}); prepare another folder"
        ) from error


def refuse_others(
    whose: str,
    wanted: Mapping[str, str | int | None],
    where: str,
    found: Mapping[str, str | int | None],
    cure: str = "take the same model and settings, or prepare another folder",
) -> None:
    """Refuse settings that differ, with what to do.

    Raises:
        ConfigError: It names every difference.
    """
    names = [name for name in {**wanted, **found} if wanted.get(name) != found.get(name)]
    if names:
        said = ", ".join(
            f"{name} {_short(wanted.get(name))} and not {_short(found.get(name))}" for name in names
        )
        raise ConfigError(f"{whose} with another configuration than is {where}: {said}; {cure}")


def _short(value: str | int | None) -> str:
    text = "none" if value is None else str(value)
    return text[:12] if len(text) == 64 else text


def work_name(unit: int) -> tuple[str, int]:
    """The file of a unit's samples, and its row group there."""
    return f"{WORK}/{unit // UNITS_PER_FILE:05d}.parquet", unit % UNITS_PER_FILE


def samples_of(folder: ShardFolder, units: Sequence[Unit], number: int) -> list[Tokens]:
    """The samples of a unit, in prefix order.

    Raises:
        StoreError: They are damaged, or others than the plan says.
    """
    name, group = work_name(number)
    with checked(folder, name), folder.opened(name) as file:
        table = pq.ParquetFile(file, pre_buffer=False).read_row_group(group)
        columns = (table[column].to_pylist() for column in WORK_SCHEMA.names)
        samples = [Tokens(ids, mask) for ids, mask in zip(*columns, strict=True)]
    if keys_digest(map(content_digest, samples)) != units[number].digest:
        raise StoreError(f"{folder.shown(name)} is damaged; prepare another folder")
    return samples
