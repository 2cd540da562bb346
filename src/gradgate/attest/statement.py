"""The statement: an in-toto Statement v1 on a dataset that was vetted for fine-tuning.

`Predicate` is the schema; docs/attestation.md explains it field by field. A field that is not
known is refused, for it may be a condition. So another field is another version.
"""

from typing import Any, Literal

from pydantic import Field

from gradgate.approvals.record import Action
from gradgate.data.formats.fields import RowFormat
from gradgate.gate.verdict import Decision
from gradgate.methods.evidence import Question
from gradgate.signing.fields import Moment, Record, Sha256

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "urn:gradgate:dataset-vetted-for-fine-tuning:v1"
ROWS_DIGEST = "gradgateRowsV1"  # in a subject: the Merkle root of rows
ACCEPTED, DATASET, CONFIGURATION = "accepted rows", "dataset", "configuration"


class Rows(Record):
    """Rows in their order."""

    n: int = Field(ge=0, description="How many.")
    root: Sha256 = Field(description="Root of their Merkle tree.")


class Accepted(Rows):
    """The rows that may be trained on."""

    fingerprint: Sha256 = Field(description="SHA-256 over the ids of their samples.")
    tokens: Sha256 = Field(description="SHA-256 over their token ids and loss masks.")
    columns: list[str] = Field(description="Every name of a column or key in them.")
    file_sha256: Sha256 = Field(description="Of the file with the rows.")


class Dataset(Record):
    """What was read."""

    source: str = Field(description="Without credentials.")
    fingerprint: Sha256 = Field(description="SHA-256 over the ids of all samples, in row order.")
    row_format: RowFormat | None = Field(description="Null when no row was readable.")
    columns: dict[str, str] = Field(description="From a field of the format to its column.")
    template_names: list[str] = Field(description="Fields of messages that the template may read.")
    n_rows: int = Field(ge=0, description="Samples and rejected rows.")
    samples: Rows = Field(description="All samples; the leaves of the tree are their ids.")
    rejected: Rows = Field(description="Rows that are no samples; the leaves are their texts.")
    source_sha256: Sha256 | None = Field(
        None, description="Of the local files that were read; null of anything else."
    )
    source_revision: str | None = Field(
        None, description="Commit of a dataset of the hub; null of anything else."
    )


class AttestedAnswer(Record):
    """An answer of the verdict, without the texts of its evidence."""

    question: Question
    method: str
    decision: Decision
    reasons: list[str]
    n_flagged: int | None
    n_in_doubt: int
    fraction: float | None
    interval: list[float] | None
    limit: float | None
    threshold: float | None = Field(description="Of a method that has one.")
    groups: dict[str, int] = Field(description="Number of groups by their ruling.")
    power: list[dict[str, Any]] | None = Field(description="Null when no canaries were planted.")
    blind_to: list[str]
    notes: list[str]


class AttestedApproval(Record):
    """A decision of a person that counted."""

    by: str
    action: Action
    chosen: str = Field(description="A group of a run, or rows by their numbers there.")
    run: str = Field(description="Name of the folder of that run.")
    at: str = Field(description="When, in UTC.")
    reason: str = Field(description="Why, in the person's words.")
    pattern: bool = Field(description="Whether it speaks for new rows of such a group, too.")
    entry: Sha256 = Field(description="Digest of its entry in the log of decisions.")
    n_rows: int = Field(ge=1, description="Rows of this run that rest on it.")


class LogHead(Record):
    """Where the log of decisions ended."""

    n: int = Field(ge=0, description="Number of the last entry; 0 when there was none.")
    sha256: Sha256 = Field(description="Digest of that entry; zeros when there was none.")


class Run(Record):
    """Where the evidence is."""

    folder: str | None = Field(description="Name of the run's folder.")
    mlflow: str | None = Field(description="Id of the run in MLflow.")
    prefect: str | None = Field(description="Id of the flow run in Prefect.")


class Predicate(Record):
    """What a gate says of a dataset."""

    decision: Decision = Field(description="Only `pass` lets anybody train.")
    reasons: list[str] = Field(description="Why.")
    issued: Moment = Field(description="When, in UTC.")
    expires: Moment | None = Field(description="From then on it is refused; null: never.")
    key: Sha256 | None = Field(description="Id of the key that signs; null: it is unsigned.")
    accepted: Accepted | None = Field(description="Null unless the decision is `pass`.")
    dataset: Dataset | None = Field(description="Null when it was not read to its end.")
    model: dict[str, str | None] = Field(
        description="Path, revision and digest (weights, configuration, tokenizer, template) of "
        "model and adapter."
    )
    model_digest_of: Literal["files", "memory"] = Field(description="What the digest is of.")
    template_date: str | None = Field(description="Today, as the chat template was told.")
    answers: list[AttestedAnswer] = Field(description="One for each question.")
    reference: dict[str, Any] | None = Field(description="The trusted reference.")
    probes: dict[str, Any] | None = Field(description="The probing set.")
    expected: list[dict[str, Any]] = Field(description="What the owner vouches for.")
    settings: dict[str, Any] = Field(description="The configuration, the policy in it.")
    settings_sha256: Sha256 = Field(description="Of the settings in canonical JSON.")
    verdict_sha256: Sha256 = Field(description="Of verdict.json.")
    approvals: list[AttestedApproval] = Field(description="Who approved what.")
    audit_log: LogHead | None = Field(
        None, description="Where the log of these decisions ended; null: none was asked."
    )
    run: Run = Field(description="Where the evidence is.")
    version: str = Field(description="Of gradgate.")
    commit: str | None = Field(
        None, description="Of the code of gradgate; null where it is no checkout."
    )


def statement_of(predicate: Predicate) -> dict[str, Any]:
    """The statement around a predicate, for `envelope.seal`."""
    return {
        "_type": STATEMENT_TYPE,
        "subject": subject_of(predicate),
        "predicateType": PREDICATE_TYPE,
        "predicate": predicate.model_dump(mode="json"),
    }


def subject_of(predicate: Predicate) -> list[dict[str, Any]]:
    """What the statement is about: accepted rows; else the dataset; else only a configuration."""
    accepted, dataset = predicate.accepted, predicate.dataset
    if accepted is not None:
        digests = {"sha256": accepted.file_sha256, ROWS_DIGEST: accepted.root}
        return [{"name": ACCEPTED, "digest": digests}]
    if dataset is not None:
        return [{"name": DATASET, "digest": {ROWS_DIGEST: dataset.samples.root}}]
    return [{"name": CONFIGURATION, "digest": {"sha256": predicate.settings_sha256}}]
