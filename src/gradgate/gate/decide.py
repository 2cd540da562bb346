"""From what the methods say to a verdict."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from gradgate.common.commit import code_commit
from gradgate.common.run_folder import RunFolder
from gradgate.config import PolicyConfig
from gradgate.data.prepare import Prepared, rejection_reasons
from gradgate.errors import DataError, GradgateError
from gradgate.gate.acceptance import Acceptance, accept
from gradgate.gate.approved import NOTHING_APPROVED, Approved
from gradgate.gate.expected import count_expected
from gradgate.gate.findings import Findings, Scored
from gradgate.gate.flag_table import count_marked
from gradgate.gate.flags import Flagging
from gradgate.gate.policy import (
    Limits,
    decide_by_fraction,
    decide_on_doubt,
    fraction_interval,
    is_within_limit,
    is_within_review,
    limits_of,
)
from gradgate.gate.quarantine import n_quarantined
from gradgate.gate.verdict import (
    Answer,
    Decision,
    Verdict,
    worst,
)
from gradgate.methods.contract import Question
from gradgate.power.blind_spots import blind_spots
from gradgate.power.measurement import Measured


class DisagreementError(GradgateError):
    """A check of the flagged fraction and the policy do not say the same. Final: a bug."""


@dataclass(frozen=True)
class Within:
    """What a check of the fractions of one question has found.

    Attributes:
        limit: Whether the flagged part of the rows is within the largest that does not fail.
        review: Whether the part that is flagged or in doubt is within what needs no review.
    """

    limit: bool
    review: bool


@dataclass(frozen=True)
class Checked:
    """What the checks of the flags say.

    Attributes:
        failures: Why the table is not whole, in words; none when it is.
        within: Of each question whose fractions were checked; of none where its method could not
            decide.
    """

    failures: list[str] = field(default_factory=list)
    within: Mapping[Question, Within] = field(default_factory=dict)


# Backdoors are no question of harm, and what harm a method finds is its own to try.
NO_HARMFUL_CANARIES = Measured(
    None,
    [
        "power is measured for poisoned rows alone; a method for harmful ones that plants canaries "
        "sets its threshold by them"
    ],
)


def decide(
    run: RunFolder,
    prepared: Prepared,
    findings: Findings,
    checked: Checked,
    policy: PolicyConfig,
    approved: Approved = NOTHING_APPROVED,
) -> Verdict:
    """The verdict on a scored dataset.

    Args:
        run: Holds samples.parquet, flags.parquet and quarantined.parquet.
        prepared: The dataset.
        findings: With the flaggings of rows that nobody has decided on.
        checked: A table that is not whole is an `error`, whatever the methods say.
        policy: What to make of it.
        approved: What people have decided.

    Raises:
        DisagreementError: The check of the flagged fraction says another thing than the policy.
        DataError: The tables are not those that were judged.
        ConfigError: A pattern that the owner vouches for takes too long on these texts.
    """
    scored, flaggings = findings.scored, findings.flaggings
    n_open, measured = scored.n_scored - approved.n_decided, findings.measured
    answers = [answer_of(one, n_open, policy, checked, measured, approved) for one in flaggings]
    decision, reasons = _outcome(answers, checked, scored, approved)
    accepted = _accepted(run, prepared, flaggings, policy, approved) if decision == "pass" else None
    decision, reasons, accepted = _unless_empty(decision, reasons, accepted)
    return Verdict(
        decision=decision,
        reasons=reasons,
        n_rows=prepared.n_rows,
        n_rejected=prepared.n_rejected,
        n_scored=scored.n_scored,
        n_kept=approved.n_kept,
        n_dropped=approved.n_dropped,
        n_quarantined=n_quarantined(run, policy.in_doubt),
        n_accepted=accepted.n if accepted else None,
        in_doubt=policy.in_doubt,
        answers=answers,
        dataset_fingerprint=prepared.fingerprint,
        source_sha256=prepared.source_sha256,
        source_revision=prepared.source_revision,
        commit=code_commit(),
        template_date=prepared.template_date,
        accepted_fingerprint=accepted.fingerprint if accepted else None,
        accepted_tokens=accepted.tokens_digest if accepted else None,
        model=scored.model,
        reference=findings.reference,
        probes=scored.probes,
        expected=count_expected(run, policy),
        approvals=approved.approvals,
        audit_log=approved.log,
    )


def _outcome(
    answers: Sequence[Answer], checked: Checked, scored: Scored, approved: Approved
) -> tuple[Decision, list[str]]:
    """The worst of the answers, and why; an error where the table is not whole."""
    if checked.failures or scored.n_scored == 0:
        return "error", checked.failures or ["no row could be scored"]
    reasons = [reason for answer in answers for reason in answer.reasons] or ["nothing was asked"]
    return worst(answer.decision for answer in answers), [*reasons, *approved.reasons]


def _unless_empty(
    decision: Decision, reasons: list[str], accepted: Acceptance | None
) -> tuple[Decision, list[str], Acceptance | None]:
    """The same, but for a pass that accepts not a single row."""
    if accepted is not None and accepted.n == 0:
        return "fail", [*reasons, "not a single row is accepted"], None
    return decision, reasons, accepted


def _accepted(
    run: RunFolder,
    prepared: Prepared,
    flaggings: Sequence[Flagging],
    policy: PolicyConfig,
    approved: Approved,
) -> Acceptance:
    """What is accepted, by the tables as they are now."""
    found = accept(run.path, policy.in_doubt)
    if found.dataset_fingerprint != prepared.fingerprint:
        raise DataError(f"{run.samples} does not hold the samples that were fetched; run again")
    _require_same_counts(run, flaggings, found, approved)
    return found


def _require_same_counts(
    run: RunFolder, flaggings: Sequence[Flagging], found: Acceptance, approved: Approved
) -> None:
    """Check that the table marks, for each question, as many rows as were counted."""
    counts = {
        "surplus copies": (found.n_surplus, sum(one.n_surplus for one in flaggings)),
        "kept rows": (found.n_kept, approved.n_kept),
        "dropped rows": (found.n_dropped, approved.n_dropped),
    }
    marked = count_marked(run, [one.question for one in flaggings])
    for one in flaggings:
        now, kind = marked[one.question], "" if len(flaggings) == 1 else f" ({one.question})"
        counts[f"rows in doubt{kind}"] = (now.n_in_doubt, one.n_in_doubt)
        if one.n_flagged is not None:
            counts[f"flagged rows{kind}"] = (now.n_flagged, one.n_flagged)
    for name, (is_now, was) in counts.items():
        if is_now != was:
            raise DataError(f"{run.flags} has {is_now} {name}, and there were {was}; run again")


def answer_of(
    flagging: Flagging,
    n_open: int,
    policy: PolicyConfig,
    checked: Checked,
    measured: Measured,
    approved: Approved,
) -> Answer:
    """What the policy makes of what a method says of rows that nobody has decided on.

    Errors are as for `decide`. Where people have decided on all rows, it is a pass, unless the
    method could not even be asked.
    """
    limits = limits_of(policy, flagging.question)
    if flagging.question == "harmful":
        measured = NO_HARMFUL_CANARIES
    n_flagged = flagging.n_flagged if n_open else None
    decision: Decision = flagging.undecided_means
    reasons: list[str] = []
    if n_open == 0 and approved.n_decided and flagging.undecided_means != "error":
        decision, reasons = "pass", [f"people have decided on all {approved.n_decided} rows"]
    elif n_flagged is None:
        if flagging.undecided_because is not None:
            reasons.append(flagging.undecided_because)
        if n_open:
            doubt, why = decide_on_doubt(n_open, limits, flagging.n_in_doubt)
            decision, reasons = worst([decision, doubt]), [*reasons, *why]
    else:
        _require_agreement(n_flagged, flagging.n_in_doubt, n_open, checked, limits)
        counts = (n_flagged, n_open, limits, flagging.n_in_doubt)
        decision, reasons = decide_by_fraction(*counts)
    interval = None
    if n_flagged is not None:
        interval = fraction_interval(n_flagged, n_open, flagging.n_in_doubt)
    return Answer(
        question=flagging.question,
        method=flagging.method,
        decision=decision,
        reasons=[*reasons, *flagging.notes] or ["no row could be scored"],
        n_flagged=n_flagged,
        n_in_doubt=flagging.n_in_doubt,
        fraction=None if n_flagged is None else n_flagged / n_open,
        interval=interval,
        limit=limits.max_fraction,
        groups=flagging.groups,
        power=measured.power,
        summary=flagging.summary,
        notes=[*flagging.remarks, *measured.not_tried, *blind_spots(flagging.question)],
    )


def _require_agreement(
    n_flagged: int, n_in_doubt: int, n_scored: int, checked: Checked, limits: Limits
) -> None:
    within = checked.within.get(limits.question)
    if checked.failures or within is None:
        return  # the verdict is an error already, or nothing was checked
    sides = {
        limits.of_fraction: (within.limit, is_within_limit(n_flagged, n_scored, limits)),
        limits.of_review: (
            within.review,
            is_within_review(n_flagged, n_scored, n_in_doubt, limits),
        ),
    }
    for limit, (theirs, ours) in sides.items():
        if theirs != ours:
            raise DisagreementError(
                f"the check of the fraction says that {n_flagged} flagged rows of {n_scored}, and "
                f"{n_in_doubt} in doubt, are {'within' if theirs else 'above'} {limit}, and the "
                "policy says the contrary"
            )


def refuse_raw_data(prepared: Prepared, failures: list[str]) -> Verdict:
    """The verdict on a dataset that is not fit to be scored."""
    why = [f"rejected rows: {rejection_reasons(prepared)}"] if prepared.n_rejected else []
    return Verdict(
        decision="fail",
        reasons=[*failures, *why],
        n_rows=prepared.n_rows,
        n_rejected=prepared.n_rejected,
        dataset_fingerprint=prepared.fingerprint,
        source_sha256=prepared.source_sha256,
        source_revision=prepared.source_revision,
        commit=code_commit(),
        template_date=prepared.template_date,
    )
