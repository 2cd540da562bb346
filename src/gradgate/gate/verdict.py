"""The verdict of a gate run: what was decided, on what grounds, and for exactly which rows."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

from pydantic import ConfigDict, TypeAdapter, ValidationError

from gradgate.approvals.log import Head
from gradgate.approvals.record import Action
from gradgate.common.json_values import faults_in
from gradgate.config import InDoubt
from gradgate.errors import DataError
from gradgate.methods.evidence import Group, Question
from gradgate.power.power import Power

Decision = Literal["pass", "review", "fail", "error"]
EXIT_CODES: dict[Decision, int] = {"pass": 0, "fail": 1, "error": 2, "review": 3}
_BY_SEVERITY: tuple[Decision, ...] = ("pass", "review", "fail", "error")


@dataclass(frozen=True)
class Changes:
    """What changed since the last run of the same gate that decided; information, not a check.

    All numbers are of different samples, a repeated one counting once.

    Attributes:
        since: Name of that run's folder; None when this is the first.
        not_compared: Why there was nothing to compare with, although there should be.
        n_new: Samples that the earlier run did not have.
        n_new_flagged: Those of them that are flagged; None when one of the two runs could not flag.
        n_gone: Samples that only the earlier run had.
        n_flagged_since: In both, flagged now and not then; in doubt or without a score counts as
            flagged.
            None when one of the two runs could not flag.
        n_cleared_since: In both, flagged then and not now.
        tau_before: The threshold of the earlier run.
        changed_settings: What was another when the earlier run scored: model, adapter, mode, ...
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    since: str | None = None
    not_compared: str | None = None
    n_new: int | None = None
    n_new_flagged: int | None = None
    n_gone: int | None = None
    n_flagged_since: int | None = None
    n_cleared_since: int | None = None
    tau_before: float | None = None
    changed_settings: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Answer:
    """What a method says to its question, and what the policy makes of that.

    Attributes:
        question: `poisoned` or `harmful`.
        method: By which rows were flagged.
        reasons: Why it was decided so, in words; never empty.
        n_flagged: Flagged rows that nobody has decided on; None when the method could not decide.
        n_in_doubt: Rows that a person has to look at, surplus copies among them; they are not
            flagged, and nobody has decided on them.
        fraction: n_flagged / scored rows that nobody has decided on; None where there are none.
        interval: From the lower end of the 95 % Clopper-Pearson interval of the flagged rows to the
            upper end of that of the flagged rows and those in doubt.
        limit: The largest fraction that does not fail.
        groups: The evidence, the most important first.
        power: Of each attack whose canaries were planted; None when none were.
        summary: Other facts of the method; of gradsentry `tau` and `threshold`.
        notes: What else a reader has to know, in words.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    question: Question
    method: str
    decision: Decision
    reasons: list[str]
    n_flagged: int | None = None
    n_in_doubt: int = 0
    fraction: float | None = None
    interval: tuple[float, float] | None = None
    limit: float | None = None
    groups: list[Group] = field(default_factory=list)
    power: list[Power] | None = None
    summary: dict[str, object] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def blind_to(self) -> list[str]:
        """Attacks whose canaries were missed at every size that was tried."""
        return [p.attack for p in self.power or [] if p.smallest_rows is None]

    @property
    def tau(self) -> float | None:
        """The threshold that flagged, wherever it came from; None where there is none."""
        tau = self.summary.get("tau")
        return tau if isinstance(tau, float) else None


@dataclass(frozen=True)
class TrustedReference:
    """The trusted data that the findings were held against.

    Attributes:
        source: Without credentials.
        fingerprint: sha256 over the ids of its samples, in row order.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    source: str
    fingerprint: str
    n_samples: int


@dataclass(frozen=True)
class ProbingSet:
    """The probes that the samples' effect on the model's safety was measured against.

    Attributes:
        source: Without credentials; `built-in` for the set of the package.
        fingerprint: sha256 of its content.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    source: str
    fingerprint: str


@dataclass(frozen=True)
class ExpectedPattern:
    """A text or an expression that the owner of the data vouches for (`policy.expected`).

    Attributes:
        pattern: As it stands in the configuration.
        n_rows: Rows with it in their prompt or target.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    pattern: str
    n_rows: int


@dataclass(frozen=True)
class Approval:
    """A decision of a person that counts in a run.

    Attributes:
        by: Who.
        action: `keep` or `drop`.
        chosen: A group, as it was called in its run, or rows by their numbers there.
        run: Name of the folder of that run.
        at: When, in UTC.
        reason: Why, in the person's words.
        pattern: Whether it speaks for new rows of such a group, too.
        entry: Digest of its entry in the log.
        n_rows: Rows of this run that are decided by it, alone or with others.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    by: str
    action: Action
    chosen: str
    run: str
    at: str
    reason: str
    pattern: bool
    entry: str
    n_rows: int


@dataclass(frozen=True)
class Accounts:
    """Where the rows of the source went; each counts once, and the parts add up to `n_rows`.

    Attributes:
        n_rows: Rows of the source.
        n_accepted: May be trained on; 0 unless the decision is `pass`.
        n_flagged: In quarantine: flagged.
        n_in_doubt: In quarantine: in doubt, where the policy does not keep those.
        n_copies: In quarantine: copies beyond `policy.max_copies` that are not flagged.
        n_dropped: In quarantine: dropped by people.
        n_not_cleared: In quarantine: no score, left open by a method, or the decision is no `pass`.
        n_rejected: No samples.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    n_rows: int
    n_accepted: int
    n_flagged: int
    n_in_doubt: int
    n_copies: int
    n_not_cleared: int
    n_rejected: int
    n_dropped: int = 0

    @property
    def n_quarantined(self) -> int:
        """All that are in quarantine."""
        judged = self.n_flagged + self.n_in_doubt + self.n_copies
        return judged + self.n_dropped + self.n_not_cleared

    @property
    def n_sum(self) -> int:
        """Accepted, in quarantine and rejected together."""
        return self.n_accepted + self.n_quarantined + self.n_rejected


@dataclass(frozen=True)
class Verdict:
    """The outcome of a gate run; its JSON form is `verdict.json`.

    Attributes:
        decision: The worst of the answers'; `error` when the table of scores is not whole.
        reasons: Why, in words; never empty.
        n_rows: Rows fetched, the rejected ones included.
        n_scored: Rows with a score (duplicates count as rows).
        n_kept: Rows with a score that people keep; they count neither as flagged nor as in doubt.
        n_dropped: Rows with a score that people drop; they count as neither, too.
        n_quarantined: Rows that are kept out although they are not flagged: in doubt, unless the
            policy keeps those, surplus copies, or dropped by people. quarantined.parquet lists
            them. None where nothing was judged.
        n_accepted: Rows that may be trained on; None unless the decision is `pass`.
        in_doubt: The policy for rows in doubt, by which the accepted rows are found again.
        answers: One for each question that was asked.
        dataset_fingerprint: sha256 over the ids of all samples, in row order.
        source_sha256: Of the local files that were read (`Origin.sha256`); None of anything else.
        source_revision: Commit of a dataset of the hub; None of anything else.
        commit: Of the code of gradgate, `-dirty` when it was changed; None where it is no checkout.
        template_date: Today, as the chat template was told; None where it did not ask.
        accepted_fingerprint: The same over the samples that may be trained on; None unless the
            decision is `pass`.
        accepted_tokens: sha256 over token ids and loss mask of those samples.
        model: Path, revision and digest of the model and adapter that scored.
        reference: None where there was none.
        probes: None where no method needs them.
        expected: What the owner vouches for, and how many rows have it.
        changes: Since the last run; None when nothing was scored.
        accounts: Where every row of the source went; None before the rows were written.
        approvals: Decisions of people that count in this run.
        audit_log: Where the log ended that they are from; None where none was read.
        files: SHA-256 of each file that a run which goes on behind a review takes over.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    decision: Decision
    reasons: list[str]
    n_rows: int = 0
    n_rejected: int = 0
    n_scored: int = 0
    n_kept: int = 0
    n_dropped: int = 0
    n_quarantined: int | None = None
    n_accepted: int | None = None
    in_doubt: InDoubt = "quarantine"
    answers: list[Answer] = field(default_factory=list)
    dataset_fingerprint: str | None = None
    template_date: str | None = None
    accepted_fingerprint: str | None = None
    accepted_tokens: str | None = None
    model: dict[str, str | None] = field(default_factory=dict)
    reference: TrustedReference | None = None
    probes: ProbingSet | None = None
    expected: list[ExpectedPattern] = field(default_factory=list)
    changes: Changes | None = None
    accounts: Accounts | None = None
    approvals: list[Approval] = field(default_factory=list)
    audit_log: Head | None = None
    files: dict[str, str] = field(default_factory=dict)
    source_sha256: str | None = None
    source_revision: str | None = None
    commit: str | None = None

    @property
    def n_open(self) -> int:
        """Rows with a score that nobody has decided on; fractions are of these."""
        return self.n_scored - self.n_kept - self.n_dropped

    def answer(self, question: Question) -> Answer | None:
        """The answer to a question, if it was asked."""
        return next((answer for answer in self.answers if answer.question == question), None)

    @property
    def exit_code(self) -> int:
        """0 pass, 1 fail, 2 could not run, 3 needs review."""
        return EXIT_CODES[self.decision]

    def to_json(self) -> str:
        """JSON text; NaN cannot occur in it."""
        return json.dumps(asdict(self), indent=2, allow_nan=False) + "\n"


def worst(decisions: Iterable[Decision]) -> Decision:
    """The worst of some decisions; `error` when there is none."""
    return max(decisions, key=_BY_SEVERITY.index, default="error")


def load_verdict(path: Path) -> Verdict:
    """Read a verdict.json.

    Raises:
        DataError: The file is missing or is not a verdict.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} is not a verdict: {error}") from error
    return parse_verdict(content, path)


def parse_verdict(content: bytes, path: Path) -> Verdict:
    """The verdict that the content of a file says; `path` is for the message.

    Raises:
        DataError: It is not a verdict; the message is one line.
    """
    try:
        found = TypeAdapter(Verdict).validate_json(content, strict=True)
    except ValidationError as error:
        raise DataError(f"{path} is not a verdict: {faults_in(error)}") from error
    try:
        found.to_json()
    except ValueError as error:
        raise DataError(f"{path} is not a verdict: a number in it is not finite") from error
    return found
