"""A data source becomes two Parquet files, samples with their tokens and rejected rows."""

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import pyarrow as pa
import pyarrow.parquet as pq
from transformers import PreTrainedTokenizerBase

from gradgate.config import DataConfig
from gradgate.errors import DataError
from gradgate.redaction import redacted
from gradgate.samples import (
    RejectedRowError,
    RowFormat,
    RowMapping,
    Sample,
    Turn,
    choose_mapping,
    fingerprint,
    to_sample,
)
from gradgate.scratch import count_distinct
from gradgate.source import RawRow, open_rows
from gradgate.tokenization import Tokens, tokenize_all

SAMPLES = "samples.parquet"
REJECTED = "rejected.parquet"
SUMMARY = "dataset.json"

_GROUP_ROWS = 4096
_GROUP_SIZE = 1 << 20  # characters and tokens; as Python objects they take some 50 MB
_READ_ROWS = 256
_WINDOW_ROWS = 64  # twice as many are hardly faster
_WINDOW_SIZE = 1 << 18  # characters; while they are tokenized they take some 40 MB

_TURN = pa.struct([("role", pa.string()), ("text", pa.string()), ("is_target", pa.bool_())])
SAMPLE_SCHEMA = pa.schema(
    [
        ("row", pa.int64()),
        ("sample_id", pa.string()),
        ("chat", pa.bool_()),
        ("turns", pa.list_(_TURN)),
        ("n_prompt_chars", pa.int64()),
        ("n_target_chars", pa.int64()),
        ("input_ids", pa.list_(pa.int32())),
        ("is_target", pa.list_(pa.bool_())),
    ]
)
_REJECTED_SCHEMA = pa.schema(
    [("row", pa.int64()), ("reason", pa.string()), ("content", pa.string())]
)


@dataclass(frozen=True, slots=True)
class Prepared:
    """What `prepare` made of a source; kept in the folder as dataset.json.

    Attributes:
        folder: Where the files are; not part of the JSON, so that the folder can be moved.
        source: `DataConfig.source` without credentials.
        row_format: None when no row was readable.
        columns: From the format's field to the name of its column.
        n_rows: n_samples + n_rejected.
        n_unique: Different samples; repeated ones are kept.
        fingerprint: Hash of the samples in row order.
    """

    folder: Path
    source: str
    row_format: RowFormat | None
    columns: dict[str, str]
    n_rows: int
    n_samples: int
    n_rejected: int
    n_unique: int
    fingerprint: str

    @property
    def samples_path(self) -> Path:
        """The samples, for `iter_prepared` and `iter_samples`."""
        return self.folder / SAMPLES

    @property
    def rejected_path(self) -> Path:
        """The rejected rows: row, reason, content."""
        return self.folder / REJECTED

    def to_json(self) -> str:
        """Write everything but the folder."""
        content = asdict(self)
        del content["folder"]
        return json.dumps(content, indent=2) + "\n"

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `prepare` left in a folder.

        Raises:
            DataError: There is no finished result, or it is damaged.
        """
        path = folder / SUMMARY
        try:
            return cls(folder=folder, **json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError) as error:
            raise DataError(f"{path} is no result of prepare: {error}") from error


@dataclass(frozen=True, slots=True)
class PreparedSample:
    """What scoring needs of a sample."""

    row: int
    sample_id: str
    tokens: Tokens


@dataclass(frozen=True, slots=True)
class _Rejected:
    row: int
    reason: str
    content: str


def prepare(
    config: DataConfig, tokenizer: PreTrainedTokenizerBase, max_tokens: int, folder: Path
) -> Prepared:
    """Read a source once and write its samples and its rejected rows into `folder`.

    Memory does not depend on the number of rows. Files appear under their names when all is
    written, the summary last. That every row is rejected is no error here: the check of the raw
    data decides.

    Raises:
        DataError: The source cannot be read, or its columns are of no row format.
        ModelError: The tokenizer lacks an end token or a chat template.
        TransientError: A remote store or the hub did not answer.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with _all_or_nothing(folder):
        reader = _Reader(config, tokenizer, max_tokens)
        with (
            closing(_GroupWriter(_part(folder / SAMPLES), SAMPLE_SCHEMA)) as samples,
            closing(_GroupWriter(_part(folder / REJECTED), _REJECTED_SCHEMA)) as rejected,
        ):
            for row in reader.read(open_rows(config)):
                if isinstance(row, _Rejected):
                    rejected.add(asdict(row), len(row.content))
                else:
                    samples.add(_record(*row), _size(*row))
        prepared = Prepared(
            folder=folder,
            source=redacted(config.source),
            row_format=reader.mapping.row_format if reader.mapping else None,
            columns=reader.mapping.columns if reader.mapping else {},
            n_rows=samples.n_rows + rejected.n_rows,
            n_samples=samples.n_rows,
            n_rejected=rejected.n_rows,
            n_unique=count_distinct(_sample_ids(_part(folder / SAMPLES))),
            fingerprint=fingerprint(_sample_ids(_part(folder / SAMPLES))),
        )
        _part(folder / SUMMARY).write_text(prepared.to_json(), encoding="utf-8")
    return prepared


def rejection_reasons(prepared: Prepared, most: int = 3) -> str:
    """The commonest reasons, with their counts; reasons that differ in numbers are one."""
    table = pq.read_table(prepared.rejected_path, columns=["reason"])
    kinds = Counter(re.sub(r"\d+", "n", reason) for reason in table["reason"].to_pylist())
    return ", ".join(f"{count} x {reason}" for reason, count in kinds.most_common(most))


def iter_prepared(path: Path, batch_rows: int) -> Iterator[list[PreparedSample]]:
    """Read ids and tokens from `Prepared.samples_path`, up to `batch_rows` samples at a time.

    Raises:
        DataError: The file is missing or damaged.
    """
    for batch in _batches(path, batch_rows, ["row", "sample_id", "input_ids", "is_target"]):
        yield [
            PreparedSample(row["row"], row["sample_id"], Tokens(row["input_ids"], row["is_target"]))
            for row in batch
        ]


def iter_samples(path: Path) -> Iterator[Sample]:
    """Read the samples, as they were before tokenization, from `Prepared.samples_path`.

    Raises:
        DataError: The file is missing or damaged.
    """
    for batch in _batches(path, _READ_ROWS, ["row", "sample_id", "chat", "turns"]):
        for row in batch:
            turns = tuple(Turn(**turn) for turn in row["turns"])
            yield Sample(row["row"], row["sample_id"], row["chat"], turns)


def _sample_ids(path: Path) -> Iterator[str]:
    for batch in _batches(path, _GROUP_ROWS, ["sample_id"]):
        yield from (row["sample_id"] for row in batch)


def _batches(path: Path, n_rows: int, columns: list[str]) -> Iterator[list[dict[str, Any]]]:
    try:
        with pq.ParquetFile(path, pre_buffer=False) as file:
            for batch in file.iter_batches(batch_size=n_rows, columns=columns):
                yield batch.to_pylist()
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{path} cannot be read: {error}") from error


class _Reader:
    """From rows to samples and their tokens; the first readable row decides on the format."""

    def __init__(
        self, config: DataConfig, tokenizer: PreTrainedTokenizerBase, max_tokens: int
    ) -> None:
        self.mapping: RowMapping | None = None
        self._config = config
        self._tokenizer = tokenizer
        self._max_tokens = max_tokens

    def read(self, rows: Iterable[RawRow]) -> Iterator[tuple[Sample, Tokens] | _Rejected]:
        """Yield what becomes of each row, in order."""
        for window in self._windows(rows):
            samples = [sample for _, sample in window if isinstance(sample, Sample)]
            outcomes = iter(tokenize_all(samples, self._tokenizer, self._max_tokens))
            for raw, found in window:
                outcome = next(outcomes) if isinstance(found, Sample) else found
                if isinstance(found, Sample) and isinstance(outcome, Tokens):
                    yield found, outcome
                else:
                    yield _Rejected(raw.row, str(outcome), raw.content())

    def _windows(
        self, rows: Iterable[RawRow]
    ) -> Iterator[list[tuple[RawRow, Sample | RejectedRowError]]]:
        """Put rows together that are tokenized in one call, bounded in number and in size."""
        window: list[tuple[RawRow, Sample | RejectedRowError]] = []
        size = 0
        for raw in rows:
            sample = self._sample(raw)
            window.append((raw, sample))
            size += len(raw.raw) + (_n_chars(sample.turns) if isinstance(sample, Sample) else 0)
            if len(window) >= _WINDOW_ROWS or size >= _WINDOW_SIZE:
                yield window
                window, size = [], 0
        yield window

    def _sample(self, raw: RawRow) -> Sample | RejectedRowError:
        if raw.value is None:
            return RejectedRowError(raw.problem)
        if self.mapping is None:
            self.mapping = choose_mapping(raw.value, self._config.columns)
        try:
            return to_sample(raw.value, raw.row, self.mapping, self._config.template)
        except RejectedRowError as error:
            return error.with_traceback(None)  # it would keep this frame alive


def _record(sample: Sample, tokens: Tokens) -> dict[str, object]:
    return {
        "row": sample.row,
        "sample_id": sample.sample_id,
        "chat": sample.chat,
        "turns": [
            {"role": turn.role, "text": turn.text, "is_target": turn.is_target}
            for turn in sample.turns
        ],
        "n_prompt_chars": _n_chars(turn for turn in sample.turns if not turn.is_target),
        "n_target_chars": _n_chars(turn for turn in sample.turns if turn.is_target),
        "input_ids": tokens.input_ids,
        "is_target": tokens.is_target,
    }


def _size(sample: Sample, tokens: Tokens) -> int:
    return len(tokens.input_ids) + _n_chars(sample.turns)


def _n_chars(turns: Iterable[Turn]) -> int:
    return sum(len(turn.text) for turn in turns)


class _GroupWriter:
    """Writes rows to a Parquet file in groups that are bounded in rows and in size."""

    def __init__(self, path: Path, schema: Any) -> None:
        self.n_rows = 0
        self._schema = schema
        self._writer = pq.ParquetWriter(path, schema, compression="zstd")
        self._group: list[dict[str, object]] = []
        self._group_size = 0

    def add(self, row: dict[str, object], size: int) -> None:
        self.n_rows += 1
        self._group.append(row)
        self._group_size += size
        if len(self._group) >= _GROUP_ROWS or self._group_size >= _GROUP_SIZE:
            self._write_group()

    def close(self) -> None:
        self._write_group()
        self._writer.close()

    def _write_group(self) -> None:
        if self._group:
            self._writer.write_table(pa.Table.from_pylist(self._group, schema=self._schema))
        self._group = []
        self._group_size = 0


def _part(path: Path) -> Path:
    return path.with_name(path.name + ".part")


@contextmanager
def _all_or_nothing(folder: Path) -> Iterator[None]:
    """Give the three files their final names when all are whole; the summary says so, last."""
    finals = [folder / SAMPLES, folder / REJECTED, folder / SUMMARY]
    try:
        yield
        finals[-1].unlink(missing_ok=True)  # never an older summary beside newer files
        for final in finals:
            _part(final).replace(final)
    finally:
        for final in finals:
            _part(final).unlink(missing_ok=True)
