"""The steps of a drill: its data, the flags that the gate gave, its models, and its report."""

import logging
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from prefect import task
from prefect.artifacts import create_markdown_artifact

from gradgate.common import parquet
from gradgate.common.arrays import Marks
from gradgate.common.redaction import redacted
from gradgate.common.run_folder import RunFolder
from gradgate.common.state import state_dir
from gradgate.config import DataConfig, PowerConfig
from gradgate.data.prepare import prepare
from gradgate.drill.config import DrillConfig
from gradgate.drill.data import CLEAN, POISONED, DrillData, make_data, read_questions
from gradgate.drill.models import Arm, Asking, Tester, Trained, run_arm
from gradgate.drill.plot import plot_drill
from gradgate.drill.report import DrillResult, draw_up, metrics, to_csv, to_markdown
from gradgate.errors import DataError
from gradgate.gate.acceptance import accepted
from gradgate.gate.config import GateConfig
from gradgate.gate.pipeline import run_gate
from gradgate.gate.verdict import Verdict, load_verdict
from gradgate.models.identity import load_model
from gradgate.models.loading import load_tokenizer, sample_limit
from gradgate.release.result import AdapterTest
from gradgate.release.run import ask_models
from gradgate.release.subject import Model, Subject
from gradgate.release.training_record import TrainingRecord
from tasks import tracking
from tasks.dead_runs import close_dead_runs
from tasks.retries import OPTIONS
from tasks.run import GateRun, make_run_folder, run_folder
from tasks.tracking import TrackedRun

logger = logging.getLogger("gradgate.tasks")


@dataclass(frozen=True)
class DrillRun:
    """Where a drill keeps its data and its report; drill.json is written last.

    Attributes:
        folder: Below `drills/` in the state folder; what lies there is poisoned on purpose.
        tracked: The run in MLflow, the parent of the gate's.
    """

    folder: Path
    tracked: TrackedRun


def drill_folder(flow_run_id: str, attempt: int = 1) -> Path:
    """Folder of an attempt at the flow run."""
    return state_dir() / "drills" / run_folder(flow_run_id, attempt).name


def kept_out(gate_run: Path, n_rows: int) -> Marks:
    """What a gate run kept out: rows flagged, quarantined, rejected, or without a score.

    Args:
        gate_run: Folder of a gate run that is over.
        n_rows: Rows of its source.

    Returns:
        By row number, shape (n_rows,).

    Raises:
        DataError: The gate could not score, or not decide.
    """
    folder = RunFolder(gate_run)
    verdict = load_verdict(folder.verdict)
    if verdict.decision == "error" or not folder.flags.exists():
        reasons = "; ".join(verdict.reasons)
        raise DataError(f"the gate gave no flags to measure: {verdict.decision} ({reasons})")
    columns = ["row", "status", "spectral_entropy"]
    columns += ["flagged", "in_doubt", "surplus_copy", "approved"]
    table = parquet.table(folder.flags, columns)
    flags = np.ones(n_rows, dtype=np.bool_)
    flags[table["row"].to_numpy()] = ~accepted(table, verdict.in_doubt)
    return flags


@task(**OPTIONS)
def open_drill(config: DrillConfig, flow_run_id: str, attempt: int, name: str) -> DrillRun:
    """Open the drill's run in MLflow and make its folder."""
    close_dead_runs(config)
    tracked = tracking.start_run(config, "drill", name)
    folder = drill_folder(flow_run_id, attempt)
    make_run_folder(RunFolder(folder), tracked, config, "the drill's folder")
    return DrillRun(folder, tracked)


@task(**OPTIONS)
def make_drill_data(run: DrillRun, config: DrillConfig) -> DrillData:
    """Write poisoned.jsonl, clean.jsonl and questions.jsonl into the drill's folder."""
    limit = sample_limit(config.model, config.data.max_tokens)
    data = make_data(config, load_tokenizer(config.model), limit, run.folder)
    logger.info(
        "drill: %d training rows, %d of them poisoned, %d test rows",
        *(len(data.roles), data.roles.count("poisoned"), data.n_test),
    )
    return data


def gate_config(run: DrillRun, config: DrillConfig) -> GateConfig:
    """The gate of the drill: the configured one, on the poisoned rows."""
    given = config.model_dump(include=set(GateConfig.model_fields))
    return GateConfig.model_validate({**given, "data": _data(run, config, POISONED).model_dump()})


def _data(run: DrillRun, config: DrillConfig, file: str) -> DataConfig:
    source = {"source": str(run.folder / file), "name": None, "split": None, "revision": None}
    return config.data.model_copy(update=source)


@task(**OPTIONS)
def nest(gate_run: GateRun, run: DrillRun) -> None:
    """Show the gate's run below the drill's."""
    tracking.set_tags(gate_run.tracked, {"mlflow.parentRunId": run.tracked.run_id})


@task(**OPTIONS)
def rehearse(run: DrillRun, config: DrillConfig, n_rows: int) -> Marks | None:
    """What a gate that rehearses groups in doubt keeps out: (n_rows,); None where none is asked.

    The scores are those of the gate before; no canaries are planted again.
    """
    if not config.drill.rehearsal or config.rehearsal == "off":
        return None
    changes = {
        "rehearsal": config.rehearsal,
        "rehearsals": config.rehearsals,
        "power": PowerConfig(attacks=[]),
    }
    gating = gate_config(run, config)
    detection = gating.detection.model_copy(update=changes)
    folder = RunFolder(run.folder / "rehearsed")
    folder.path.mkdir()
    verdict = run_gate(gating.model_copy(update={"detection": detection}), folder)
    folder.verdict.write_text(verdict.to_json(), encoding="utf-8")
    return kept_out(folder.path, n_rows)


@task(**OPTIONS)
def train_poisoned(
    run: DrillRun, config: DrillConfig, data: DrillData, name: str, gate: Path, flags: Marks
) -> Arm:
    """Fine-tune on the rows that the gate read and did not keep out; all where nothing is out."""
    return _arm(run, config, data, name, gate, RunFolder(gate).samples, ~flags)


@task(**OPTIONS)
def train_clean(run: DrillRun, config: DrillConfig, data: DrillData, name: str, gate: Path) -> Arm:
    """Fine-tune on the training rows as they were before they were poisoned."""
    limit = sample_limit(config.model, config.data.max_tokens)
    source = _data(run, config, CLEAN)
    prepared = prepare(source, load_tokenizer(config.model), limit, run.folder / "clean")
    return _arm(run, config, data, name, gate, prepared.samples_path, None)


def _arm(
    run: DrillRun,
    config: DrillConfig,
    data: DrillData,
    name: str,
    gate: Path,
    samples: Path,
    kept: Marks | None,
) -> Arm:
    asking = Asking(read_questions(run.folder), data.max_new_tokens, config.drill.batch_size)
    answers = run.folder / f"answers_{name}.jsonl"
    test = _tester(config, RunFolder(gate)) if config.adapter_test.enabled else None
    return run_arm(name, config.model, config.finetune, samples, kept, asking, answers, test)


def _tester(config: DrillConfig, gate: RunFolder) -> Tester:
    """Tests a model in memory by what the gate knows of the poisoned data."""
    verdict = load_verdict(gate.verdict)
    is_bare = config.finetune.kind == "lora" and config.model.adapter is None

    @cache
    def before() -> Model:
        return load_model(config.model).model

    def test(trained: Trained) -> AdapterTest:
        models = trained.model, trained.tokenizer, None if is_bare else before
        subject = Subject.of(*models, config.adapter_test)
        record = TrainingRecord(contradictions=trained.contradictions)
        return ask_models(gate, verdict, config.data, subject, config.adapter_test, record)

    return test


@task(**OPTIONS)
def publish_drill(
    run: DrillRun,
    config: DrillConfig,
    data: DrillData,
    verdict: Verdict,
    flags: Marks,
    arms: list[Arm],
    rehearsed: Marks | None,
) -> DrillResult:
    """Write and log table, CSV and plot; the rows and the answers stay in the folder."""
    result = draw_up(
        source=redacted(config.data.source),
        attack=config.drill.attack,
        poison_rate=config.drill.rate,
        seed=config.drill.seed,
        decision=verdict.decision,
        reasons=verdict.reasons,
        flagged=flags,
        poisoned=np.array([role == "poisoned" for role in data.roles]),
        arms=arms,
        rehearsed=rehearsed,
    )
    page = to_markdown(result)
    (run.folder / "drill.md").write_text(page, encoding="utf-8")
    (run.folder / "drill.csv").write_text(to_csv(result), encoding="utf-8")
    plot_drill(result, run.folder / "drill.png")
    (run.folder / "drill.json").write_text(result.to_json(), encoding="utf-8")
    for name in ("drill.md", "drill.csv", "drill.png", "drill.json", "config.yaml"):
        tracking.log_files(run.tracked, run.folder / name)
    tracking.log_metrics(run.tracked, metrics(result))
    tracking.set_tags(run.tracked, {"mlflow.note.content": page, "gradgate.drill": result.headline})
    tracking.end_run(run.tracked, ok=True)
    create_markdown_artifact(page, key="drill")
    return result
