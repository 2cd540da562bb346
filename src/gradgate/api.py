"""The library: score and judge data from Python, without a command line or an orchestrator."""

import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import datasets
import pandas as pd
import pyarrow as pa
from peft import PeftModel
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from gradgate.attest.issuing import Facts, run_attested_gate
from gradgate.common import parquet
from gradgate.common.environment import set_defaults
from gradgate.common.files import folder_written_whole, temporary_folder
from gradgate.common.run_folder import RunFolder
from gradgate.config import ModelConfig, Section, check_config
from gradgate.data.sources.in_memory import rows_in_memory
from gradgate.errors import ConfigError, DataError
from gradgate.gate import pipeline
from gradgate.gate.accounts import accepted_file, accepted_rows
from gradgate.gate.config import GateConfig
from gradgate.gate.pipeline import STEPS, Steps
from gradgate.gate.verdict import Verdict
from gradgate.methods.evidence import Group
from gradgate.models.handle import ConfiguredModel, HeldModel, ModelHandle
from gradgate.report.about import About
from gradgate.report.brief import in_figures
from gradgate.report.content import collect
from gradgate.report.deciding import Deciding
from gradgate.report.in_doubt import flagged, in_doubt
from gradgate.report.markdown import verdict_markdown
from gradgate.report.page import write_report
from gradgate.scoring.run import ScoringSummary

Dataset: TypeAlias = "datasets.Dataset | datasets.IterableDataset"
Source: TypeAlias = "str | Path | Dataset | Iterable[Mapping[str, Any]]"
Model: TypeAlias = "str | Path | PreTrainedModel | PeftModel"
Config: TypeAlias = "GateConfig | Mapping[str, object] | None"

_IN_MEMORY = "in-memory"
# What nothing reads of the settings where data, or the model, are in memory.
_OF_SOURCES = ("name", "split", "revision", "delimiter", "expected_rows")
_OF_FOLDERS = ("revision", "adapter", "device_map")


@dataclass(frozen=True, eq=False)
class ScoreResult:
    """What scoring gives.

    Attributes:
        table: A line for each sample, in the order of the source (`run_folder.SCORE_SCHEMA`).
        rejected: Rows that are no samples: row, reason, content.
        summary: What the run did.
    """

    table: pa.Table
    rejected: pa.Table
    summary: ScoringSummary

    def to_pandas(self) -> pd.DataFrame:
        """The table."""
        frame: pd.DataFrame = self.table.to_pandas()
        return frame


class DetectionResult:
    """What the gate says of a data set; its tables lie in a temporary folder until it is gone.

    Attributes:
        verdict: The decision, its reasons and its evidence.
    """

    def __init__(
        self, verdict: Verdict, folder: "tempfile.TemporaryDirectory[str]", config: GateConfig
    ) -> None:
        """Keep a finished run."""
        self.verdict = verdict
        self._folder = folder
        self._config = config
        self._when = datetime.now(UTC)

    def __repr__(self) -> str:
        """The verdict in figures."""
        return f"<{type(self).__name__} {in_figures(self.verdict)}>"

    @property
    def groups(self) -> list[Group]:
        """The evidence of all answers, the most important first."""
        return [group for answer in self.verdict.answers for group in answer.groups]

    @property
    def table(self) -> pa.Table:
        """The score table with what the method says of each row (`run_folder.FLAG_FIELDS`).

        Raises:
            DataError: The raw data were not fit to be scored, see the verdict.
        """
        return parquet.table(self._existing(self._run.flags))

    @property
    def quarantined(self) -> pa.Table:
        """Rows kept out though not flagged, with their texts (`run_folder.QUARANTINED_SCHEMA`).

        Raises:
            DataError: As for `table`.
        """
        return parquet.table(self._existing(self._run.quarantined))

    @property
    def rejected(self) -> pa.Table:
        """Rows that are no samples: row, reason, content."""
        return parquet.table(self._run.rejected)

    @property
    def accepted_rows(self) -> list[int]:
        """Numbers of the rows that may be trained on, in their order; none unless it is a pass.

        Of a `datasets.Dataset` or a trainer's dataset, `dataset.select(result.accepted_rows)`.
        """
        return list(accepted_rows(self._run.rows))

    def to_pandas(self) -> pd.DataFrame:
        """The table of flags; errors as for `table`."""
        frame: pd.DataFrame = self.table.to_pandas()
        return frame

    def save(self, folder: str | Path) -> Path:
        """Keep all evidence: tables, rows, attestation, verdict.json, verdict.md and report.html.

        Args:
            folder: Is made, and must not hold anything.

        Raises:
            DataError: It exists, or cannot be written.
        """
        output = Path(folder)
        try:
            with folder_written_whole(output) as part:
                shutil.copytree(self._run.path, part, dirs_exist_ok=True)
                self._write_pages(RunFolder(part), output)
        except (OSError, ValueError, DataError) as error:  # ValueError: a path without a name
            raise DataError(f"the evidence cannot be kept in {output}: {error}") from error
        return output

    def _write_pages(self, run: RunFolder, output: Path) -> None:
        run.verdict.write_text(self.verdict.to_json(), encoding="utf-8")
        source, rows = self._config.data.source, RunFolder(output).rows
        about = About(
            run=output.name,
            files=str(output.absolute()),
            when=self._when,
            policy=self._config.policy,
            deciding=Deciding("restore", str(rows.absolute()), accepted_file(run.rows).suffix),
            in_doubt=in_doubt(run, self.verdict),
            flagged=flagged(run, self.verdict),
        )
        page = verdict_markdown(self.verdict, source, about)
        run.summary.write_text(page, encoding="utf-8")
        if run.flags.exists():
            content = collect(run, source, self.verdict, "gradgate.detect(...)", about)
            write_report(run.report, content)

    @property
    def _run(self) -> RunFolder:
        return RunFolder(Path(self._folder.name))

    def _existing(self, path: Path) -> Path:
        if not path.exists():
            raise DataError(f"there is no table of flags: {'; '.join(self.verdict.reasons)}")
        return path


def detect(
    source: Source,
    model: Model,
    tokenizer: PreTrainedTokenizerBase | None = None,
    config: Config = None,
) -> DetectionResult:
    """Judge a data set as the gate does.

    Args:
        source: Path, hub id or URL, a `datasets.Dataset`, or rows, such as a list of them or what
            `trainer_rows` makes of a trainer.
        model: Path or hub id, or a loaded model; it is left as it was.
        tokenizer: Of a loaded model.
        config: A gate's sections but for `data.source` and `model.path`, as in a YAML file, such
            as `{"detection": {"methods": ["gradsentry"]}}`; or a `GateConfig`.

    Raises:
        ConfigError: The configuration or the arguments are wrong.
        DataError: The source cannot be read.
        ModelError: The model cannot be loaded, or not be scored exactly.
    """
    with _subject(source, model, tokenizer, config) as subject:
        folder = tempfile.TemporaryDirectory(prefix="gradgate-")
        run, facts = RunFolder(Path(folder.name)), subject.facts()
        verdict = run_attested_gate(subject.config, run, subject.steps(), facts)
        return DetectionResult(verdict, folder, subject.config)


def score(
    source: Source,
    model: Model,
    tokenizer: PreTrainedTokenizerBase | None = None,
    config: Config = None,
) -> ScoreResult:
    """Score every sample, and judge nothing; arguments and errors as for `detect`."""
    with (
        _subject(source, model, tokenizer, config) as subject,
        temporary_folder("gradgate-") as folder,
    ):
        run, steps = RunFolder(folder), subject.steps()
        prepared = steps.fetch(subject.config, run)
        if not prepared.n_samples:
            raise DataError(f"none of the {prepared.n_rows} rows of {prepared.source} is a sample")
        scored = steps.score(prepared, subject.config, run)
        rejected = parquet.table(run.rejected)
        return ScoreResult(parquet.table(run.scores), rejected, scored.summary)


@dataclass(frozen=True)
class _Subject:
    """What is judged, and by which model."""

    config: GateConfig
    source: Source
    model: ModelHandle

    def facts(self) -> Facts:
        """For the attestation."""
        is_held = isinstance(self.model, HeldModel)
        return Facts(model_digest_of="memory" if is_held else "files")

    def steps(self) -> Steps:
        """The pipeline's, on what is in memory."""
        rows = None if isinstance(self.source, str | Path) else rows_in_memory(self.source)
        return replace(
            STEPS,
            fetch=partial(pipeline.fetch, model=self.model, rows=rows),
            score=partial(pipeline.score, model=self.model),
            detect=partial(pipeline.detect, model=self.model),
            measure=partial(pipeline.measure, model=self.model),
        )


@contextmanager
def _subject(
    source: Source, model: Model, tokenizer: PreTrainedTokenizerBase | None, config: Config
) -> Iterator[_Subject]:
    set_defaults()
    is_path = isinstance(model, str | Path)
    if is_path == (tokenizer is not None):
        raise ConfigError("a loaded model comes with its tokenizer, and a path without one")
    is_file = isinstance(source, str | Path)
    path = str(model) if is_path else getattr(model, "name_or_path", "") or _IN_MEMORY
    settings = _settings(config, str(source) if is_file else _IN_MEMORY, path)
    if not is_file:
        _refuse(settings.data, _OF_SOURCES, "data", "how a source is read, and the rows are")
    if isinstance(model, str | Path):
        yield _Subject(settings, source, ConfiguredModel(settings.model))
        return
    assert tokenizer is not None
    _refuse(settings.model, _OF_FOLDERS, "model", "how a model is loaded, and it is")
    _require_as_it_is(settings.model, model)
    held = HeldModel(model, tokenizer, path)
    with held.evaluating():
        yield _Subject(settings, source, held)


def _refuse(section: Section, names: tuple[str, ...], prefix: str, what: str) -> None:
    """Refuse settings that nothing would read, for whoever set them relies on them."""
    fields = type(section).model_fields
    for name in names:
        if getattr(section, name) != fields[name].default:
            raise ConfigError(f"{prefix}.{name} says {what} in memory already; leave it out")


def _require_as_it_is(asked: ModelConfig, model: PreTrainedModel | PeftModel) -> None:
    there = {"device": model.device.type, "dtype": str(model.dtype).removeprefix("torch.")}
    for name, found in there.items():
        if getattr(asked, name).partition(":")[0] not in ("auto", found):
            raise ConfigError(
                f"model.{name} is {getattr(asked, name)}, and the loaded model's is {found}; load "
                "it that way, or leave the setting out"
            )


def _settings(config: Config, source: str, model: str) -> GateConfig:
    if isinstance(config, GateConfig):
        fields = set(GateConfig.model_fields)  # not those of a subclass, such as `finetune`
        given: dict[str, Any] = config.model_dump(include=fields)
    elif config is None or isinstance(config, Mapping):
        given = dict(config or {})
    else:
        kind = type(config).__name__
        raise ConfigError(f"config is a mapping of sections or a GateConfig, not a {kind}")
    for section, key, value in (("data", "source", source), ("model", "path", model)):
        inner = given.get(section) or {}
        if isinstance(inner, Mapping | Section):  # otherwise it is wrong, and is checked below
            given[section] = {**dict(inner), key: value}
    return check_config(given, GateConfig, "the configuration")
