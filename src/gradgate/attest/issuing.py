"""A verdict is attested: what is known of it is put into a statement, signed and written."""

import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import rfc8785
from pydantic import ValidationError
from securesystemslib.signer import CryptoSigner

import gradgate
from gradgate.attest.envelope import seal
from gradgate.attest.given_rows import OtherDataError, check_file
from gradgate.attest.run_rows import accepted_of, dataset_of
from gradgate.attest.statement import AttestedAnswer, Predicate, Run, statement_of
from gradgate.common.files import written_whole
from gradgate.common.redaction import redacted
from gradgate.common.run_folder import RunFolder
from gradgate.errors import DataError
from gradgate.gate.accounts import accepted_file
from gradgate.gate.config import GateConfig
from gradgate.gate.pipeline import STEPS, Steps, run_gate
from gradgate.gate.verdict import Answer, Verdict
from gradgate.signing.keys import signer_of


@dataclass(frozen=True)
class Facts:
    """What the folder and the verdict do not say.

    Attributes:
        folder: Name of the run's folder, once the run is over.
        mlflow: Id of the run in MLflow.
        prefect: Id of the flow run.
        model_digest_of: Whether the model was digested by its files, or as it lay in memory.
        until: When the attestation expires of the run that this one goes on with.
    """

    folder: str | None = None
    mlflow: str | None = None
    prefect: str | None = None
    model_digest_of: Literal["files", "memory"] = "files"
    until: datetime | None = None


def run_attested_gate(
    config: GateConfig, run: RunFolder, steps: Steps = STEPS, facts: Facts = Facts()
) -> Verdict:
    """Run the gate, and write the attestation of its verdict.

    Raises:
        ConfigError: There is no key where one is required; nothing was begun.
        GradgateError: A step broke; see there.
    """
    signer = signer_of(config.attestation)
    verdict = run_gate(config, run, steps)
    write_attestation(run, config, verdict, signer, facts)
    return verdict


def write_attestation(
    run: RunFolder,
    config: GateConfig,
    verdict: Verdict,
    signer: CryptoSigner | None,
    facts: Facts = Facts(),
) -> None:
    """Write attestation.json, which is whole or not there.

    Args:
        run: With the tables and the rows, as far as it came.
        config: Of the gate.
        verdict: On it, as verdict.json has it.
        signer: None: the attestation is unsigned, and says so.
        facts: About the run.

    Raises:
        DataError: The files of the run are not those of the verdict, or damaged.
    """
    try:
        predicate = _predicate(run, config, verdict, signer, facts)
    except ValidationError as error:
        fields = ", ".join(sorted({".".join(map(str, one["loc"])) for one in error.errors()}))
        raise DataError(f"the verdict cannot be attested: {fields} cannot be right") from error
    except rfc8785.CanonicalizationError as error:
        raise DataError(f"the verdict cannot be attested: {error}") from error
    _check_file(run, predicate)
    with written_whole(run.attestation) as part:
        part.write_bytes(seal(statement_of(predicate), signer))


def _check_file(run: RunFolder, predicate: Predicate) -> None:
    """Read the file of the accepted rows as a verifier does: its digest will stand for its rows."""
    if predicate.accepted is None or predicate.accepted.n == 0:
        return
    path = accepted_file(run.rows)
    try:
        check_file(path, predicate)
    except OtherDataError as error:
        raise DataError(
            f"{path} does not hold the rows that the verdict accepts ({error}); run again"
        ) from error


def _predicate(
    run: RunFolder, config: GateConfig, verdict: Verdict, signer: CryptoSigner | None, facts: Facts
) -> Predicate:
    issued = datetime.now(UTC).replace(microsecond=0)
    settings = settings_of(config)
    plain = _plain(asdict(verdict))
    return Predicate(
        decision=verdict.decision,
        reasons=verdict.reasons,
        issued=issued,
        expires=_expires(config, issued, facts.until),
        key=None if signer is None else signer.public_key.keyid,
        accepted=accepted_of(run, verdict),
        dataset=dataset_of(run),
        model=verdict.model,
        model_digest_of=facts.model_digest_of,
        template_date=verdict.template_date,
        answers=[_answer(answer) for answer in verdict.answers],
        reference=plain["reference"],
        probes=plain["probes"],
        expected=plain["expected"],
        settings=settings,
        settings_sha256=hashlib.sha256(rfc8785.dumps(settings)).hexdigest(),
        verdict_sha256=hashlib.sha256(verdict.to_json().encode()).hexdigest(),
        approvals=plain["approvals"],
        audit_log=plain["audit_log"],
        run=Run(folder=facts.folder, mlflow=facts.mlflow, prefect=facts.prefect),
        version=gradgate.__version__,
        commit=verdict.commit,
    )


def _expires(config: GateConfig, issued: datetime, until: datetime | None) -> datetime | None:
    days = config.attestation.valid_days
    ends = [until] if days is None else [until, issued + timedelta(days=days)]
    return min((end for end in ends if end is not None), default=None)


def _answer(answer: Answer) -> AttestedAnswer:
    plain = _plain(asdict(answer))
    return AttestedAnswer(
        question=answer.question,
        method=answer.method,
        decision=answer.decision,
        reasons=answer.reasons,
        n_flagged=answer.n_flagged,
        n_in_doubt=answer.n_in_doubt,
        fraction=answer.fraction,
        interval=plain["interval"],
        limit=answer.limit,
        threshold=answer.tau,
        groups=dict(Counter(group.ruling for group in answer.groups)),
        power=plain["power"],
        blind_to=answer.blind_to,
        notes=answer.notes,
    )


def _plain(record: object) -> Any:
    """As JSON has it: lists for tuples, and NaN nowhere."""
    return json.loads(json.dumps(record, allow_nan=False))


def settings_of(config: GateConfig) -> dict[str, Any]:
    """Every setting, without credentials; numbers that JSON cannot hold exactly are texts."""
    found: dict[str, Any] = _clean(config.model_dump(mode="json"))
    # No addresses: samples are made of the one, and the others say what is vouched for.
    found["data"]["template"] = config.data.template
    found["policy"]["expected"] = list(config.policy.expected)
    return found


def _clean(value: object) -> Any:
    if isinstance(value, Mapping):
        return {str(name): _clean(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_clean(one) for one in value]
    if isinstance(value, int) and abs(value) >= 2**53:
        return str(value)
    return redacted(value) if isinstance(value, str) else value
