"""OpenLineage events of a gate run: which dataset was judged, and what came of it.

OpenLineage's own configuration switches them on and says where they go. An event holds counts,
digests and names, never rows or reasons, which quote them. That none can be sent fails no verdict.
"""

import logging
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit
from uuid import NAMESPACE_URL, UUID, uuid5

import gradgate
from gradgate.common.redaction import redacted
from gradgate.common.run_folder import RunFolder
from gradgate.gate.accounts import accepted_file
from gradgate.gate.config import GateConfig
from gradgate.gate.verdict import Answer, Verdict
from tasks.run import GateRun
from tasks.signing import attestation_of

if TYPE_CHECKING:
    from openlineage.client.event_v2 import InputDataset, OutputDataset, RunEvent

logger = logging.getLogger("gradgate.tasks")

FACET = "gradgate_verdict"
FACET_SCHEMA = "urn:gradgate:openlineage-verdict:v1#/$defs/GradgateVerdictRunFacet"
_PRODUCER = f"urn:gradgate:{gradgate.__version__}"
_SWITCHES = ("OPENLINEAGE_URL", "OPENLINEAGE_CONFIG")
_TRANSPORT = "OPENLINEAGE__TRANSPORT"  # begins the names of variables that describe one
_CLOSING = 10.0  # seconds, in which a transport that sends later has to send

Ended = Literal["START", "COMPLETE", "FAIL"]


def began(run: GateRun, config: GateConfig) -> None:
    """Tell that a gate run has begun."""
    _send(run, config, "START", None)


def ended(run: GateRun, config: GateConfig, verdict: Verdict) -> None:
    """Tell the verdict of a published run; `error` alone is a failure of the job."""
    _send(run, config, "FAIL" if verdict.decision == "error" else "COMPLETE", verdict)


def is_on(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether OpenLineage is configured, and not disabled."""
    if environment.get("OPENLINEAGE_DISABLED", "").strip().lower() == "true":
        return False
    return any(environment.get(name) for name in _SWITCHES) or any(
        name.startswith(_TRANSPORT) for name in environment
    )


def _send(run: GateRun, config: GateConfig, kind: Ended, verdict: Verdict | None) -> None:
    if not is_on():
        return
    try:
        from openlineage.client import OpenLineageClient

        client = OpenLineageClient()
        client.emit(_event(run, config, kind, verdict))
        client.close(_CLOSING)
    except ImportError:
        logger.warning(
            "OpenLineage is configured and its client is not installed; say "
            "`pip install 'gradgate[openlineage]'`, or unset %s",
            " and ".join(_SWITCHES),
        )
    except Exception as error:
        reason = redacted(f"{type(error).__name__}: {error}")
        logger.warning("no OpenLineage event %s was sent: %s", kind, reason)


def _event(run: GateRun, config: GateConfig, kind: Ended, verdict: Verdict | None) -> "RunEvent":
    from openlineage.client.event_v2 import Job, Run, RunEvent, RunState
    from openlineage.client.facet_v2 import job_type_job

    gate, folder = config.tracking.gate, run.folder
    job_type = job_type_job.JobTypeJobFacet("BATCH", "GRADGATE", "GATE", producer=_PRODUCER)
    outputs = [] if verdict is None else _outputs(folder, verdict)
    return RunEvent(
        eventTime=datetime.now(UTC).isoformat(),
        eventType=RunState[kind],
        producer=_PRODUCER,
        run=Run(_run_id(folder), {} if verdict is None else {FACET: _facet(folder, verdict)}),
        job=Job(
            os.environ.get("OPENLINEAGE_NAMESPACE") or "gradgate",
            "gate" if gate is None else f"gate.{gate}",
            {"jobType": job_type},
        ),
        inputs=[_input(config, verdict)],
        outputs=outputs,
    )


def _run_id(folder: RunFolder) -> str:
    """The id of the flow run; one of its own for each further attempt at it."""
    try:
        return str(UUID(folder.path.name))
    except ValueError:
        return str(uuid5(NAMESPACE_URL, f"urn:gradgate:run:{folder.path.name}"))


def dataset_name(source: str) -> tuple[str, str]:
    """Namespace and name of a source by OpenLineage's rules; neither has credentials."""
    source = source.rpartition("::")[2]  # the address behind wrappers of fsspec
    parts = urlsplit(source)
    if parts.scheme and parts.netloc:
        host = parts.netloc.rpartition("@")[2]
        return f"{parts.scheme}://{host}", parts.path.strip("/") or "/"
    path = Path(source.removeprefix("file://"))
    if path.exists():
        return "file", str(path.absolute())
    return "huggingface", redacted(source)


def _input(config: GateConfig, verdict: Verdict | None) -> "InputDataset":
    from openlineage.client.event_v2 import InputDataset
    from openlineage.client.facet_v2 import dataset_version_dataset, input_statistics_input_dataset

    found = InputDataset(*dataset_name(config.data.source))
    if verdict is not None and verdict.dataset_fingerprint is not None:
        version = verdict.dataset_fingerprint
        facet = dataset_version_dataset.DatasetVersionDatasetFacet(version, producer=_PRODUCER)
        count = input_statistics_input_dataset.InputStatisticsInputDatasetFacet(
            rowCount=verdict.n_rows, producer=_PRODUCER
        )
        found.facets, found.inputFacets = {"version": facet}, {"inputStatistics": count}
    return found


def _outputs(folder: RunFolder, verdict: Verdict) -> "list[OutputDataset]":
    """The accepted rows; none unless the verdict is a pass."""
    from openlineage.client.event_v2 import OutputDataset
    from openlineage.client.facet_v2 import (
        dataset_version_dataset,
        output_statistics_output_dataset,
    )

    if verdict.decision != "pass" or verdict.accepted_fingerprint is None:
        return []
    version = dataset_version_dataset.DatasetVersionDatasetFacet(
        verdict.accepted_fingerprint, producer=_PRODUCER
    )
    count = output_statistics_output_dataset.OutputStatisticsOutputDatasetFacet(
        rowCount=verdict.n_accepted, producer=_PRODUCER
    )
    return [
        OutputDataset(
            "file",
            str(accepted_file(folder.rows).absolute()),
            {"outputStatistics": count},
            facets={"version": version},
        )
    ]


def _facet(folder: RunFolder, verdict: Verdict) -> Any:
    """The verdict: docs/openlineage.schema.json is its schema. What is None is left out."""
    from openlineage.client.facet_v2 import RunFacet

    facet = RunFacet(producer=_PRODUCER).with_additional_properties(**_facts(folder, verdict))
    facet._schemaURL = FACET_SCHEMA
    return facet


def _facts(folder: RunFolder, verdict: Verdict) -> dict[str, Any]:
    return {
        "decision": verdict.decision,
        "rows": verdict.n_rows,
        "rejected": verdict.n_rejected,
        "scored": verdict.n_scored,
        "accepted": verdict.n_accepted,
        "answers": [_answer(answer) for answer in verdict.answers],
        "datasetFingerprint": verdict.dataset_fingerprint,
        "acceptedFingerprint": verdict.accepted_fingerprint,
        "attestation": attestation_of(folder),
    }


def _answer(answer: Answer) -> dict[str, Any]:
    return {
        "question": answer.question,
        "method": answer.method,
        "decision": answer.decision,
        "flagged": answer.n_flagged,
        "inDoubt": answer.n_in_doubt,
        "limit": answer.limit,
    }
