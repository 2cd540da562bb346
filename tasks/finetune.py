"""Fine-tune on the accepted samples of a passing gate run."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow.parquet as pq
from prefect import task

from gradgate.attest.model_signature import check_model_key
from gradgate.common.redaction import redacted
from gradgate.common.run_folder import RunFolder
from gradgate.data.prepare import Prepared
from gradgate.errors import GradgateError
from gradgate.gate.verdict import Verdict
from gradgate.release.result import AdapterTest
from gradgate.train.config import GatedFinetuneConfig
from gradgate.train.finetune import AttestationCheck, FinetuneResult, PassedRun
from gradgate.train.finetune import finetune as finetune_accepted
from gradgate.train.model_card import Course
from gradgate.train.preflight import check_finetuning as check_before
from tasks import tracking
from tasks.retries import OPTIONS
from tasks.run import GateRun, runs_dir
from tasks.signing import signer_of
from tasks.tracking import TrackedRun

logger = logging.getLogger("gradgate.tasks")


@task(**OPTIONS)
def check_finetuning(config: GatedFinetuneConfig) -> None:
    """Find out before the gate whether what it lets through could be trained on."""
    check_before(config.model, config.finetune, runs_dir())
    check_model_key(config.attestation.model_key)


@task(**OPTIONS)
def open_finetuning(run: GateRun, config: GatedFinetuneConfig) -> TrackedRun:
    """Open a run in MLflow, nested below the gate's."""
    return tracking.start_run(config, "finetune", "fine-tuning", parent=run.tracked)


@task(**OPTIONS)
def finetune(run: GateRun, config: GatedFinetuneConfig, verdict: Verdict) -> FinetuneResult:
    """Train; the core refuses unless the verdict passes the rows as they are now."""
    folder, signer = run.folder, signer_of(config.attestation)
    source, key = Prepared.load(folder.path).source, None if signer is None else signer.public_key
    return finetune_accepted(
        PassedRun(folder.path, verdict, run.tracked.run_id, source),
        config.model,
        config.finetune,
        _output(folder, config),
        AttestationCheck(key, config.attestation.required),
        # What is held back is signed when it is released, with what its test says.
        model_key=None if config.adapter_test.enabled else config.attestation.model_key,
        held_out=config.adapter_test.held_out if config.adapter_test.enabled else 0.0,
    )


def _output(folder: RunFolder, config: GatedFinetuneConfig) -> Path:
    """Where what is trained is written: held back, unless nobody is going to test it."""
    is_lora = config.finetune.kind == "lora"
    if config.adapter_test.enabled:
        return folder.held_adapter if is_lora else folder.held_model
    return folder.adapter if is_lora else folder.model


@contextmanager
def failure_recorded(nested: TrackedRun) -> Iterator[None]:
    """Close the nested run as failed, whatever ends the fine-tuning, and let it go on."""
    try:
        yield
    except BaseException as error:
        try:
            reason = redacted(f"{type(error).__name__}: {error}")
            tracking.set_tags(nested, {"gradgate.reasons": reason})
            tracking.end_run(nested, ok=False)
        except GradgateError:
            logger.exception("the failure of the fine-tuning could not be recorded in MLflow")
        raise


@task(**OPTIONS)
def record_finetuning(
    nested: TrackedRun,
    run: GateRun,
    verdict: Verdict,
    result: FinetuneResult,
    test: AdapterTest | None,
) -> None:
    """Log what was trained on, what came out and what its test says, and close the run.

    Args:
        nested: The run in MLflow.
        run: Of the gate.
        verdict: Of the gate.
        result: Its folder is where it lies now, so that what is held back is logged as such.
        test: None when there was none.
    """
    prepared, course = Prepared.load(run.folder.path), result.course
    tracking.log_dataset(
        nested,
        name=f"accepted rows of {run.folder.path.name}",
        source=prepared.source,
        fingerprint=str(verdict.accepted_fingerprint),
        sample=pq.read_schema(prepared.samples_path).empty_table().to_pandas(),
        n_rows=course.n_trained,
        context="training",
    )
    tracking.log_metrics(
        nested,
        {
            "train_loss": course.train_loss,
            "train_seconds": course.seconds,
            "steps": course.steps,
            "samples": course.n_trained,
            "trainable_parameters": course.n_parameters,
            "contradicting_rows": course.contradictions.n_found,
            "contradicting_rows_expected": course.contradictions.n_expected,
            **_held_out(course),
        },
    )
    tracking.log_files(nested, result.folder, result.folder.name)
    if test is not None:
        _log_test(nested, run.folder, test)
    outcome = "off" if test is None else test.outcome
    tags = {"gradgate.gate_run": run.tracked.run_id, "gradgate.adapter_test": outcome}
    tracking.set_tags(nested, tags)
    tracking.end_run(nested, ok=outcome != "error")


def _held_out(course: Course) -> dict[str, float]:
    """The losses on samples that were not trained on, where there are such."""
    before, after = course.held_out_loss_before, course.held_out_loss
    if before is None or after is None:
        return {}
    return {"held_out_loss_before": before, "held_out_loss": after}


def _log_test(nested: TrackedRun, folder: RunFolder, test: AdapterTest) -> None:
    tracking.log_metrics(
        nested,
        {
            "adapter_test_findings": len(test.findings),
            "adapter_test_seconds": test.seconds,
            "adapter_test_answers": test.n_answers,
        },
    )
    for path in (folder.adapter_test, folder.adapter_test_page):
        tracking.log_files(nested, path)
    tracking.set_tags(nested, {"gradgate.reasons": "; ".join(test.reasons)})
