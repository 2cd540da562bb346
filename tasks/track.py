"""The gate's run in MLflow: opened before anything else, holding all evidence at the end."""

import logging
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from prefect import task

from gradgate.attest.issuing import Facts, write_attestation
from gradgate.common.files import put_in_place
from gradgate.common.redaction import redacted
from gradgate.common.run_folder import RunFolder
from gradgate.data.prepare import Prepared
from gradgate.errors import DataError, GradgateError
from gradgate.gate.config import GateConfig
from gradgate.gate.pipeline import ScoredRun
from gradgate.gate.verdict import Decision, TrustedReference, Verdict, load_verdict
from gradgate.methods.contract import Scores
from gradgate.report.about import About
from gradgate.report.content import collect
from gradgate.report.deciding import Deciding
from gradgate.report.in_doubt import flagged, in_doubt
from gradgate.report.markdown import short_markdown, verdict_markdown
from gradgate.report.page import write_report
from tasks import lineage, tracking
from tasks.dead_runs import close_dead_runs
from tasks.links import artifact_fragment
from tasks.report import report
from tasks.retries import OPTIONS
from tasks.run import GateRun, make_run_folder, run_folder, tracked_id
from tasks.signing import attestation_of, signer_of

logger = logging.getLogger("gradgate.tasks")

_COMPUTING = ("torch", "transformers")
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


@task(**OPTIONS)
def open_run(config: GateConfig, flow_run_id: str, attempt: int, name: str) -> GateRun:
    """Open the run in MLflow and make its folder; when this fails, nothing else was begun.

    First of all the key that will sign has to be there.
    """
    signer_of(config.attestation)
    close_dead_runs(config)
    tracked = tracking.start_run(config, "gate", name)
    run = GateRun(RunFolder(run_folder(flow_run_id, attempt)), tracked, flow_run_id)
    part = run.folder.part
    make_run_folder(part, tracked, config, "the run's folder")
    try:
        tracking.set_tags(tracked, {"gradgate.run": run.folder.path.name})
        tracking.log_files(tracked, part.config)  # a store of artifacts that refuses, does so now
    except GradgateError:
        shutil.rmtree(part.path, ignore_errors=True)  # a retry makes it anew
        tracking.end_run(tracked, ok=False)
        raise
    lineage.began(run, config)
    return run


@task(**OPTIONS)
def log_scoring(run: GateRun, scored: ScoredRun) -> None:
    """Log speed and size of the scoring, and the model that did it."""
    summary = scored.summary
    tracking.log_metrics(
        run.tracked,
        {
            "samples_per_second": summary.samples_per_second,
            "scoring_seconds": summary.seconds,
            "distinct": summary.n_unique,
            "failed": summary.n_failed,
            "scored_anew": summary.n_scored,
            "known_before": summary.n_reused,
            "tokens": summary.n_tokens,
            "computed_tokens": summary.n_computed_tokens,
        },
    )
    facts = scored.model | _computed(run.folder.part)
    tags = {f"gradgate.scored_by_{name}": value for name, value in facts.items() if value}
    if summary.no_reuse is not None:
        tags["gradgate.prefixes_not_shared"] = summary.no_reuse
    tracking.set_tags(run.tracked, tags)


def _computed(part: RunFolder) -> dict[str, str]:
    """What `auto` came to, and the libraries: scores of another kind differ within rounding."""
    said = pq.read_schema(part.scores).metadata or {}
    names = ("device", "dtype")
    found = {name: said.get(f"gradgate.{name}".encode(), b"").decode() for name in names}
    return found | {"libraries": ", ".join(f"{name} {version(name)}" for name in _COMPUTING)}


@contextmanager
def errors_recorded(run: GateRun, config: GateConfig) -> Iterator[None]:
    """Publish whatever ends a gate run early as the verdict `error`, and let it go on."""
    try:
        yield
    except BaseException as error:
        try:
            reason = redacted(f"{type(error).__name__}: {error}")
            publish(run, config, Verdict("error", [reason]))
            if isinstance(error, Exception):  # nobody waits for pages when the process is to end
                report(run)
        except Exception:
            part = run.folder.part.path
            logger.exception("the error could not be recorded; what there is lies in %s", part)
        raise


@task(**OPTIONS)
def publish(run: GateRun, config: GateConfig, verdict: Verdict) -> None:
    """Log the evidence and close the run; only then does the folder get its name.

    The verdict's tag is the last thing that MLflow hears: without it a run has decided nothing.
    Killed before the folder has its name, the run loses the tag again: see `close_dead_runs`.
    """
    part = run.folder.part
    source = Prepared.load(part.path).source if part.dataset.exists() else "not read"
    part.verdict.write_text(verdict.to_json(), encoding="utf-8")
    about = _about(run, config, verdict)
    part.summary.write_text(verdict_markdown(verdict, source, about), encoding="utf-8")
    _attest(run, config, verdict)
    _write_report(part, verdict, source, about)
    _log_figures(run, verdict)
    for path in sorted(part.path.iterdir()):
        # All rows with their text stay here; those that need a look are logged.
        if path not in (part.samples, part.rows) and path.suffix != ".part":
            tracking.log_files(run.tracked, path, path.name if path.is_dir() else None)
    name = f"{verdict.decision}: {Path(source).name}"
    tags = {"mlflow.note.content": _note(run, verdict, about), "mlflow.runName": name}
    tags |= _attested(part) | _compared_with(run, verdict)
    if config.tracking.gate is not None:
        tags["gradgate.gate"] = config.tracking.gate
    tracking.set_tags(run.tracked, tags)
    tracking.set_verdict(run.tracked, verdict)
    tracking.end_run(run.tracked, ok=verdict.decision != "error")
    put_in_place(part.path, run.folder.path)
    lineage.ended(run, config, verdict)


def _attest(run: GateRun, config: GateConfig, verdict: Verdict) -> None:
    """Write attestation.json; that it cannot be written is no reason to keep an error quiet."""
    facts = Facts(run.folder.path.name, run.tracked.run_id, run.flow_run, until=run.until)
    try:
        signer = signer_of(config.attestation)
        write_attestation(run.folder.part, config, verdict, signer, facts)
    except GradgateError:
        if verdict.decision != "error":
            raise
        logger.exception("the error is recorded without an attestation")


def _attested(part: RunFolder) -> dict[str, str]:
    """What the attestation is revoked by, and the key that signed it."""
    found = attestation_of(part)
    if found is None:
        return {}
    return {
        "gradgate.attestation": found["sha256"],
        "gradgate.signed_by": found["key"] or "nobody",
    }


def _about(run: GateRun, config: GateConfig, verdict: Verdict) -> About:
    """Which run the pages are about, and how a person decides on it."""
    folder, part, is_known = run.folder.path, run.folder.part, verdict.decision != "error"
    return About(
        run=folder.name,
        files=f"{folder} on {socket.gethostname()}",
        when=datetime.now(UTC),
        policy=config.policy,
        deciding=Deciding("approve", folder.name, approvals=config.approvals),
        last=_last_decision(run, verdict),
        in_doubt=in_doubt(part, verdict) if is_known else [],
        flagged=flagged(part, verdict) if is_known else [],
    )


def _last_decision(run: GateRun, verdict: Verdict) -> Decision | None:
    """What the run decided that this one was compared with, where its verdict can be read."""
    changes = verdict.changes
    if changes is None or changes.since is None:
        return None
    try:
        return load_verdict(RunFolder(run.folder.path.with_name(changes.since)).verdict).decision
    except DataError:  # then the changes say that there was nothing to compare with
        return None


def _write_report(part: RunFolder, verdict: Verdict, source: str, about: About) -> None:
    """Write report.html; that it cannot be written is no reason to keep an error quiet."""
    config = part.config.read_text(encoding="utf-8")
    try:
        write_report(part.report, collect(part, Path(source).name, verdict, config, about))
    except Exception:
        if verdict.decision != "error":
            raise
        logger.exception("the error is recorded without a report")


def _note(run: GateRun, verdict: Verdict, about: About) -> str:
    """The description in MLflow, which links within the same server, whatever its address."""
    page = run.folder.part.report
    link = artifact_fragment(run.tracked, page.name).lstrip("/") if page.exists() else None
    return short_markdown(verdict, about, link)


def _log_figures(run: GateRun, verdict: Verdict) -> None:
    """Log the datasets and the distribution of the scores, as far as the run got."""
    part = run.folder.part
    if part.dataset.exists():
        _log_dataset(run, Prepared.load(part.path), verdict.reference)
    if not part.scores.exists():
        return
    scores = Scores.read(part.scores, ["spectral_entropy"])
    entropies = scores.signals["spectral_entropy"][scores.is_scored]
    if entropies.size:
        values = np.quantile(entropies, QUANTILES)
        names = [f"entropy/p{round(100 * q):02d}" for q in QUANTILES]
        tracking.log_metrics(run.tracked, dict(zip(names, values.tolist(), strict=True)))


def _log_dataset(run: GateRun, prepared: Prepared, reference: TrustedReference | None) -> None:
    columns = pq.read_schema(prepared.samples_path).empty_table().to_pandas()
    tracking.log_dataset(
        run.tracked,
        name=Path(prepared.source).name,
        source=prepared.source,
        fingerprint=prepared.fingerprint,
        sample=columns,
        n_rows=prepared.n_rows,
        context="gate",
    )
    if reference is not None:
        tracking.log_dataset(
            run.tracked,
            name=Path(reference.source).name,
            source=reference.source,
            fingerprint=reference.fingerprint,
            sample=columns,
            n_rows=reference.n_samples,
            context="reference",
        )


def _compared_with(run: GateRun, verdict: Verdict) -> dict[str, str]:
    """The run in MLflow that this one was compared with; the folders of all runs lie together."""
    changes = verdict.changes
    if changes is None or changes.since is None or changes.not_compared is not None:
        return {}
    earlier = RunFolder(run.folder.path.with_name(changes.since))
    try:
        return {"gradgate.compared_with": tracked_id(earlier)}
    except DataError as error:
        logger.warning("the tag gradgate.compared_with is not set: %s", error)
        return {}
