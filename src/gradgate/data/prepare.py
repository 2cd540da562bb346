"""A data source becomes two Parquet files, samples with their tokens and rejected rows."""

import json
import re
import shutil
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager, nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Self, TypeAlias

from transformers import PreTrainedTokenizerBase

from gradgate.common.files import aside, put_in_place
from gradgate.common.json_values import parse_json
from gradgate.common.parquet import GROUP_ROWS, GroupWriter, batches
from gradgate.common.redaction import redacted
from gradgate.common.run_folder import REJECTED_SCHEMA, SAMPLE_SCHEMA, RunFolder
from gradgate.common.scratch import count_distinct
from gradgate.config import DataConfig
from gradgate.data.formats.fields import RowFormat
from gradgate.data.formats.mapping import RowMapping, choose_mapping, to_sample
from gradgate.data.kept_rows import RowKeeper
from gradgate.data.rows.row import RawRow
from gradgate.data.sample import (
    RejectedRowError,
    Sample,
    Turn,
    fingerprint,
    full_text,
    n_characters,
)
from gradgate.data.sources.origin import Origin
from gradgate.data.sources.source import open_rows
from gradgate.data.tokenized import TOKENS, tokenized_sample
from gradgate.data.tokenizer_digest import tokenizer_digest
from gradgate.data.tokens import Tokens, names_in_template, reads_date, tokenize_all
from gradgate.errors import DataError, ModelError

_WINDOW_ROWS = 64  # twice as many are hardly faster
_WINDOW_SIZE = 1 << 18  # characters; while they are tokenized they take some 40 MB
_NUMBER = re.compile(r"(?<!\w-)\b\d{1,18}\b")  # but not that of a name, such as UTF-8


@dataclass(frozen=True, slots=True)
class Prepared:
    """The result of `prepare`; kept in the folder as dataset.json.

    Attributes:
        folder: Where the files are; not part of the JSON, so that the folder can be moved.
        source: `DataConfig.source` without credentials.
        row_format: None when no row was readable.
        columns: From the format's field to the name of its column.
        n_rows: n_samples + n_rejected.
        n_unique: Different samples; repeated ones are kept.
        fingerprint: Hash of the samples in row order.
        template_date: Today, as the chat template was told; None where it did not ask.
        template_names: Fields of messages that the chat template may read, in order.
        tokenizer: See `tokenizer_digest`; None where several processes prepared a part each.
        source_sha256: Of the local files that were read (`Origin.sha256`); None of anything else.
        source_revision: Commit of a dataset of the hub; None of anything else.
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
    template_date: str | None = None
    template_names: list[str] = field(default_factory=list)
    tokenizer: str | None = None
    source_sha256: str | None = None
    source_revision: str | None = None

    def check_tokenizer(self, tokenizer: PreTrainedTokenizerBase) -> None:
        """Refuse to go on with another tokenizer than that which the samples were made by.

        Raises:
            ModelError: It is another.
        """
        if self.tokenizer not in (None, tokenizer_digest(tokenizer)):
            raise ModelError(
                "the model's tokenizer or chat template has changed since the samples were made of "
                "the rows; run again"
            )

    @property
    def samples_path(self) -> Path:
        """The samples, for `iter_prepared` and `SampleFile`."""
        return RunFolder(self.folder).samples

    @property
    def rejected_path(self) -> Path:
        """The rejected rows: row, reason, content."""
        return RunFolder(self.folder).rejected

    def to_json(self) -> str:
        """Write everything but the folder."""
        content = asdict(self)
        del content["folder"]
        return json.dumps(content, indent=2) + "\n"

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read the result of `prepare` from a folder.

        Raises:
            DataError: There is no finished result, or it is damaged.
        """
        path = RunFolder(folder).dataset
        try:
            return cls(folder=folder, **parse_json(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError) as error:
            raise DataError(f"{path} is no result of prepare: {error}") from error


@dataclass(frozen=True, slots=True)
class PreparedSample:
    """A sample for scoring: row number, id and tokens."""

    row: int
    sample_id: str
    tokens: Tokens


@dataclass(frozen=True, slots=True)
class _Rejected:
    row: int
    reason: str
    content: str


def prepare(
    config: DataConfig,
    tokenizer: PreTrainedTokenizerBase,
    max_tokens: int,
    folder: Path,
    rows: Iterable[RawRow] | None = None,
    keep_rows: bool = False,
) -> Prepared:
    """Read a source once and write its samples and its rejected rows into `folder`.

    Memory does not depend on the number of rows. Files appear when all is written, the summary
    last. That every row is rejected is no error: the check of the raw data decides.

    Args:
        config: The source, and how its rows become samples.
        tokenizer: Of the model.
        max_tokens: Longer samples are rejected.
        folder: Made when missing.
        rows: Instead of those of the source.
        keep_rows: Keep the rows as they were too, in `RunFolder.source_rows`.

    Raises:
        DataError: The source cannot be read, was changed meanwhile, or is of no row format.
        ModelError: The tokenizer lacks an end token or a chat template.
        TransientError: A remote store or the hub did not answer.
    """
    folder.mkdir(parents=True, exist_ok=True)
    run = RunFolder(folder)
    digest = tokenizer_digest(tokenizer)
    with _all_or_nothing(run):
        reader, origin = _Reader(config, tokenizer, max_tokens), Origin()
        rows = open_rows(config, origin) if rows is None else rows
        with (
            closing(GroupWriter(aside(run.samples), SAMPLE_SCHEMA)) as samples,
            closing(GroupWriter(aside(run.rejected), REJECTED_SCHEMA)) as rejected,
            closing(RowKeeper(run.source_rows)) if keep_rows else nullcontext() as keeper,
        ):
            for row in reader.read(rows if keeper is None else keeper.through(rows)):
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
            n_unique=count_distinct(_sample_ids(aside(run.samples))),
            fingerprint=fingerprint(_sample_ids(aside(run.samples))),
            template_date=reader.template_date,
            template_names=sorted(reader.mapping.template_names) if reader.mapping else [],
            tokenizer=digest,
            source_sha256=origin.sha256(),
            source_revision=origin.revision,
        )
        aside(run.dataset).write_text(prepared.to_json(), encoding="utf-8")
    return prepared


def rejection_reasons(prepared: Prepared) -> str:
    """The three commonest reasons, with their counts; those that differ in numbers alone are one.

    Where they differ, the smallest and the largest number stand there, as in `600 to 2048 tokens`.
    """
    kinds: dict[str, _Numbers] = defaultdict(_Numbers)
    for batch in batches(prepared.rejected_path, ["reason"], GROUP_ROWS):
        for reason in batch["reason"].to_pylist():
            shown = reason.replace("\0", " ")  # of a column's name
            kinds[_NUMBER.sub("\0", shown)].add([int(n) for n in _NUMBER.findall(shown)])
    commonest = sorted(kinds.items(), key=lambda kind: -kind[1].n_reasons)[:3]
    return ", ".join(f"{found.n_reasons} x {found.put_into(kind)}" for kind, found in commonest)


class _Numbers:
    """The ranges of the numbers in reasons of one kind."""

    def __init__(self) -> None:
        self.n_reasons = 0
        self._low: list[int] = []
        self._high: list[int] = []

    def add(self, numbers: list[int]) -> None:
        self._low = list(map(min, self._low or numbers, numbers))
        self._high = list(map(max, self._high or numbers, numbers))
        self.n_reasons += 1

    def put_into(self, kind: str) -> str:
        """The reason with its numbers, or their ranges, where the kind has NUL."""
        ranges = zip(self._low, self._high, strict=True)
        numbers = iter(str(a) if a == b else f"{a} to {b}" for a, b in ranges)
        return re.sub("\0", lambda _: next(numbers), kind)


def iter_prepared(path: Path, batch_rows: int) -> Iterator[list[PreparedSample]]:
    """Read ids and tokens from `Prepared.samples_path`, up to `batch_rows` samples at a time.

    Raises:
        DataError: The file is missing or damaged.
    """
    columns = ["row", "sample_id", "input_ids", "is_target"]
    for batch in batches(path, columns, batch_rows):
        yield [
            PreparedSample(row["row"], row["sample_id"], Tokens(row["input_ids"], row["is_target"]))
            for row in batch.to_pylist()
        ]


@dataclass(frozen=True, slots=True)
class SampleFile:
    """The samples of `Prepared.samples_path`, as they were before tokenization.

    They can be gone through several times without being in memory.
    """

    path: Path

    def __iter__(self) -> Iterator[Sample]:
        """Read them anew.

        Raises:
            DataError: The file is missing or damaged.
        """
        names = ["row", "sample_id", "chat", "turns", "template_inputs"]
        for batch in batches(self.path, names):
            for row in batch.to_pylist():
                turns = tuple(Turn(**turn) for turn in row.pop("turns"))
                yield Sample(**row, turns=turns)


def _sample_ids(path: Path) -> Iterator[str]:
    for batch in batches(path, ["sample_id"], GROUP_ROWS):
        yield from batch["sample_id"].to_pylist()


# A sample that is still to be tokenized, one that came with its tokens, or why there is none.
_Read: TypeAlias = "Sample | tuple[Sample, Tokens] | RejectedRowError"


class _Reader:
    """From rows to samples and their tokens; the first readable row decides on the format."""

    def __init__(
        self, config: DataConfig, tokenizer: PreTrainedTokenizerBase, max_tokens: int
    ) -> None:
        self.mapping: RowMapping | None = None
        self.template_date: str | None = None
        self._config = config
        self._tokenizer = tokenizer
        self._max_tokens = max_tokens

    def read(self, rows: Iterable[RawRow]) -> Iterator[tuple[Sample, Tokens] | _Rejected]:
        """Yield the sample or the rejection of each row, in order."""
        for window in self._windows(rows):
            samples = [sample for _, sample in window if isinstance(sample, Sample)]
            outcomes = iter(self._tokenized(samples))
            for raw, found in window:
                outcome = next(outcomes) if isinstance(found, Sample) else found
                if isinstance(outcome, RejectedRowError):
                    yield _Rejected(raw.row, str(outcome), raw.content())
                elif isinstance(found, Sample) and isinstance(outcome, Tokens):
                    yield found, outcome
                elif isinstance(outcome, tuple):
                    yield outcome

    def _tokenized(self, samples: list[Sample]) -> list[Tokens | RejectedRowError]:
        today = self._config.template_date
        is_asked = self.template_date is None and any(sample.chat for sample in samples)
        if is_asked and reads_date(self._tokenizer):
            self.template_date = today
        return tokenize_all(samples, self._tokenizer, self._max_tokens, today)

    def _windows(self, rows: Iterable[RawRow]) -> Iterator[list[tuple[RawRow, _Read]]]:
        """Put rows together that are tokenized in one call, bounded in number and in size."""
        window: list[tuple[RawRow, _Read]] = []
        size = 0
        for raw in rows:
            sample = self._sample(raw)
            window.append((raw, sample))
            size += len(raw.raw) + (n_characters(sample) if isinstance(sample, Sample) else 0)
            if len(window) >= _WINDOW_ROWS or size >= _WINDOW_SIZE:
                yield window
                window, size = [], 0
        yield window

    def _sample(self, raw: RawRow) -> _Read:
        if raw.value is None:
            return RejectedRowError(raw.problem)
        if self.mapping is None:
            names = names_in_template(self._tokenizer)
            self.mapping = choose_mapping(raw.value, self._config, names)
        try:
            if self.mapping.row_format == TOKENS.name:
                return tokenized_sample(raw.value, raw.row, self._tokenizer, self._max_tokens)
            return to_sample(raw.value, raw.row, self.mapping, self._config.template)
        except RejectedRowError as error:
            return error.with_traceback(None)  # it would keep this frame alive


def _record(sample: Sample, tokens: Tokens) -> dict[str, object]:
    return {
        "row": sample.row,
        "sample_id": sample.sample_id,
        "chat": sample.chat,
        "turns": [asdict(turn) for turn in sample.turns],
        "template_inputs": sample.template_inputs,
        "n_prompt_chars": _n_chars(turn for turn in sample.turns if not turn.is_target),
        "n_target_chars": _n_chars(turn for turn in sample.turns if turn.is_target),
        "input_ids": tokens.input_ids,
        "is_target": tokens.is_target,
    }


def _size(sample: Sample, tokens: Tokens) -> int:
    return len(tokens.input_ids) + n_characters(sample)


def _n_chars(turns: Iterable[Turn]) -> int:
    return sum(len(full_text(turn)) for turn in turns)


@contextmanager
def _all_or_nothing(run: RunFolder) -> Iterator[None]:
    """Give the three files their final names when all are whole; the summary says so, last."""
    finals = [run.samples, run.rejected, run.dataset]
    shutil.rmtree(run.source_rows, ignore_errors=True)  # of an earlier call
    try:
        yield
        finals[-1].unlink(missing_ok=True)  # never an older summary beside newer files
        for final in finals:
            put_in_place(aside(final), final)
    except BaseException:
        shutil.rmtree(run.source_rows, ignore_errors=True)
        raise
    finally:
        for final in finals:
            aside(final).unlink(missing_ok=True)
