"""The audit trail in MLflow: plain functions on an explicit run.

MLflow's active run is thread-local, and a task submitted by Prefect would open a stray one.
"""

import getpass
import json
import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import pandas as pd
from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag

from gradgate import __version__
from gradgate.common.commit import code_commit
from gradgate.common.processes import Process
from gradgate.common.redaction import redacted
from gradgate.gate.config import GateConfig
from gradgate.gate.verdict import Answer, Verdict
from tasks.mlflow_store import client_of, open_experiment, tracking_uri, translated

Kind = Literal["gate", "finetune", "drill", "compare"]

# MLflow's limits, below which it cuts without a trace.
_MAX_PARAM = 6_000
_MAX_TAG = 8_000
_CUT = " ... [cut]"
# What a run executes, as git names it: modules anywhere, pages and lists of the package, suites.


@dataclass(frozen=True)
class TrackedRun:
    """A run in MLflow, to be passed between tasks.

    Attributes:
        uri: Tracking URI, credentials included; kept out of the repr, and so out of logs.
        ui_url: Where people open MLflow's pages; None: at the address of the server.
    """

    uri: str = field(repr=False)
    experiment_id: str
    run_id: str
    ui_url: str | None = None


def start_run(
    config: GateConfig, kind: Kind, name: str, parent: TrackedRun | None = None
) -> TrackedRun:
    """Open a run with every value of `config` as a parameter.

    Args:
        config: Its tracking section says where; with a parent, the parent's store is used.
        kind: Which flow this is.
        name: Shown in MLflow.
        parent: The run below which this one is nested.

    Raises:
        ConfigError: The tracking URI or its folder is unusable, or the experiment was deleted.
        TransientError: The server or database did not answer.
    """
    uri = parent.uri if parent else tracking_uri(config.tracking.uri)
    tags = _start_tags(config, kind, parent)
    with translated(uri):
        experiment = parent and parent.experiment_id
        experiment = experiment or open_experiment(uri, config.tracking.experiment)
        client = client_of(uri)
        run_id = client.create_run(experiment, tags=tags, run_name=name).info.run_id
        with _ended_on_failure(client, run_id):
            client.log_batch(run_id, params=_params(config))
    return TrackedRun(uri, experiment, run_id, config.tracking.ui_url)


@contextmanager
def _ended_on_failure(client: MlflowClient, run_id: str) -> Iterator[None]:
    """A retry opens another run; this one must not seem to go on."""
    try:
        yield
    except BaseException:  # SIGTERM as well
        with suppress(Exception):
            client.set_terminated(run_id, "FAILED")
        raise


def log_dataset(
    run: TrackedRun,
    *,
    name: str,
    source: str,
    fingerprint: str,
    sample: pd.DataFrame,
    n_rows: int,
    context: Literal["gate", "reference", "training"],
) -> None:
    """Log a dataset input: what it is, not its rows.

    MLflow's own from_pandas is not used: it refuses sources that it does not know (hf://, chained
    fsspec URLs) and would report the sample's number of rows.

    Args:
        run: Where to log.
        name: Shown in MLflow.
        source: Hub id, path or URL; credentials are removed.
        fingerprint: sha256 over the sample ids; MLflow's digest, of at most 36
            characters, is its first half.
        sample: A few rows, for the names and types of the columns.
        n_rows: Rows of the whole dataset.
        context: What the run uses the dataset for.
    """
    source_type, where = _source(redacted(source))
    dataset = Dataset(
        name=name,
        digest=fingerprint[:32],
        source_type=source_type,
        source=json.dumps(where),
        schema=_schema(sample),
        profile=json.dumps({"num_rows": n_rows}),
    )
    used = DatasetInput(dataset, tags=[InputTag("mlflow.data.context", context)])
    with translated(run.uri):
        client_of(run.uri).log_inputs(run.run_id, [used])
    of = "reference" if context == "reference" else "dataset"
    set_tags(run, {f"gradgate.{of}_fingerprint": fingerprint})


def log_metrics(run: TrackedRun, values: Mapping[str, float | None]) -> None:
    """Log what has a finite value; what has none is left out and never logged as 0."""
    now = int(time.time() * 1000)
    metrics = [
        Metric(key, float(value), now, 0)
        for key, value in values.items()
        if value is not None and math.isfinite(value)
    ]
    with translated(run.uri):
        client_of(run.uri).log_batch(run.run_id, metrics=metrics)


def log_files(run: TrackedRun, path: Path, artifact_path: str | None = None) -> None:
    """Log a file, or all files below a folder, under the artifact folder `artifact_path`.

    Raises:
        FileNotFoundError: There is no `path`.
    """
    if not path.exists():
        raise FileNotFoundError(path)
    with translated(run.uri):
        client = client_of(run.uri)
        log = client.log_artifacts if path.is_dir() else client.log_artifact
        log(run.run_id, str(path), artifact_path)


def log_table(run: TrackedRun, columns: dict[str, list[Any]], artifact_file: str) -> None:
    """Log a table by its columns, which MLflow shows as one; `artifact_file` ends with .json."""
    with translated(run.uri):
        client_of(run.uri).log_table(run.run_id, columns, artifact_file)


def set_tags(run: TrackedRun, tags: Mapping[str, str]) -> None:
    """Set tags; a value longer than MLflow allows is cut with a marker."""
    entities = [RunTag(key, _cut(value, _MAX_TAG)) for key, value in tags.items()]
    with translated(run.uri):
        client_of(run.uri).log_batch(run.run_id, tags=entities)


def set_verdict(run: TrackedRun, verdict: Verdict) -> None:
    """Log the decision and its reasons as tags, and its figures as metrics.

    Those of the question `poisoned` have plain names; others begin with their question.
    """
    metrics: dict[str, float | None] = {
        "scored": verdict.n_scored,
        "rejected": verdict.n_rejected,
        "quarantined": verdict.n_quarantined,
        "accepted": verdict.n_accepted,
        **({} if verdict.audit_log is None else _of_people(verdict)),
        **_changes(verdict),
    }
    tags = {
        "gradgate.verdict": verdict.decision,
        "gradgate.reasons": "; ".join(verdict.reasons),
    }
    for answer in verdict.answers:
        metrics |= _figures(answer)
        tags |= _answer_tags(answer)
    log_metrics(run, metrics)
    set_tags(run, tags)


def end_run(run: TrackedRun, ok: bool) -> None:
    """Close the run as FINISHED or FAILED."""
    with translated(run.uri):
        client_of(run.uri).set_terminated(run.run_id, "FINISHED" if ok else "FAILED")


def _params(config: GateConfig) -> list[Param]:
    return [
        Param(key, _cut(redacted(value), _MAX_PARAM))
        for key, value in _flat(config.model_dump(mode="json"))
    ]


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in values.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{prefix}{key}.")
        elif isinstance(value, dict | list):
            yield f"{prefix}{key}", json.dumps(value)
        else:
            yield f"{prefix}{key}", str(value)


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - len(_CUT)] + _CUT


def _start_tags(config: GateConfig, kind: Kind, parent: TrackedRun | None) -> dict[str, str]:
    this = Process.this()
    tags = {
        "gradgate.version": __version__,
        "gradgate.git_sha": _git_sha(),
        "gradgate.kind": kind,
        "gradgate.model": redacted(config.model.path),
        "gradgate.model_revision": config.model.revision or "",
        "mlflow.parentRunId": parent.run_id if parent else "",
        "mlflow.user": _account(),
        "gradgate.host": this.host,
        "gradgate.pid": str(this.pid),
        "gradgate.process_started": str(this.started),
    }
    return {key: _cut(value, _MAX_TAG) for key, value in tags.items() if value}


def _account() -> str:
    """The account that this process runs under, which MLflow shows as `Created by`."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a number without a name, in a container
        return ""


def _git_sha() -> str:
    """Commit of the repository that holds this file, see `code_commit`."""
    return code_commit(Path(__file__)) or "unknown"


def _source(source: str) -> tuple[str, dict[str, str]]:
    """MLflow's source type and its JSON."""
    scheme = urlsplit(source).scheme if "://" in source else ""
    if scheme in ("http", "https"):
        return "http", {"url": source}
    if scheme or Path(source).exists():
        return scheme or "local", {"uri": source}
    return "hugging_face", {"path": source}


def _schema(sample: pd.DataFrame) -> str:
    types = {"i": "long", "u": "long", "f": "double", "b": "boolean"}
    columns = [
        {"name": str(column), "type": types.get(dtype.kind, "string")}
        for column, dtype in sample.dtypes.items()
    ]
    return json.dumps({"mlflow_colspec": columns})


def _figures(answer: Answer) -> dict[str, float | None]:
    is_poison = answer.question == "poisoned"
    prefix, fraction = ("", "poison_fraction") if is_poison else (f"{answer.question}/", "fraction")
    low, high = answer.interval or (None, None)
    figures: dict[str, float | None] = {
        fraction: answer.fraction,
        f"{fraction}_low": low,
        f"{fraction}_high": high,
        "threshold": answer.tau,
        "flagged": answer.n_flagged,
        "in_doubt": answer.n_in_doubt,
        **_threshold_interval(answer),
        **{f"power/{power.attack}": power.rate for power in answer.power or []},
    }
    return {f"{prefix}{name}": value for name, value in figures.items()}


def _answer_tags(answer: Answer) -> dict[str, str]:
    prefix = "gradgate" if answer.question == "poisoned" else f"gradgate.{answer.question}"
    tags = {f"{prefix}.method": answer.method}
    if answer.blind_to:
        tags[f"{prefix}.blind_to"] = ", ".join(answer.blind_to)
    return tags


def _threshold_interval(answer: Answer) -> dict[str, float | None]:
    threshold = answer.summary.get("threshold")
    interval = threshold.get("interval") if isinstance(threshold, dict) else None
    if not isinstance(interval, list | tuple):
        return {}
    low, high = interval
    return {"threshold_low": low, "threshold_high": high}


def _of_people(verdict: Verdict) -> dict[str, float | None]:
    return {"kept_by_people": verdict.n_kept, "dropped_by_people": verdict.n_dropped}


def _changes(verdict: Verdict) -> dict[str, float | None]:
    changes = verdict.changes
    if changes is None:
        return {}
    return {
        "changes/new": changes.n_new,
        "changes/new_flagged": changes.n_new_flagged,
        "changes/gone": changes.n_gone,
        "changes/flagged": changes.n_flagged_since,
        "changes/cleared": changes.n_cleared_since,
    }
