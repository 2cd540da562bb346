"""From what the methods say to a verdict."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from gradgate.common.run_folder import RunFolder
from gradgate.config import PolicyConfig
from gradgate.data.prepare import Prepared, rejection_reasons
from gradgate.errors import DataError, GradgateError
from gradgate.gate.acceptance import Acceptance, accept
from gradgate.gate.expected import count_expected
from gradgate.gate.flags import Flagging
from gradgate.gate.policy import (
    decide_by_fraction,
    decide_on_doubt,
    is_within_limit,
    is_within_review,
    poison_interval,
)
from gradgate.gate.quarantine import n_quarantined
from gradgate.gate.verdict import Answer, Decision, TrustedReference, Verdict, worst
from gradgate.power.blind_spots import blind_spots
from gradgate.power.measurement import NOT_MEASURED, Measured


class DisagreementError(GradgateError):
    """A check of the flagged fraction and the policy do not say the same. Final: a bug."""


@dataclass(frozen=True)
class Checked:
    """What the checks of the flags say.

    Attributes:
        failures: Why the table is not whole, in words; none when it is.
        within_limit: Whether a check has found the flagged fraction to be within
            `max_poison_fraction`; None where none was made, or nothing could be flagged.
        within_review: The same of the rows that are flagged or in doubt, and `review_above`.
    """

    failures: list[str] = field(default_factory=list)
    within_limit: bool | None = None
    within_review: bool | None = None


NOT_CHECKED = Checked()


@dataclass(frozen=True)
class Scored:
    """A score table: how many of its rows have a score, and which model scored them.

    Attributes:
        model: Path, revision and digest of model and adapter.
    """

    n_scored: int
    model: dict[str, str | None]


def decide(
    run: RunFolder,
    prepared: Prepared,
    scored: Scored,
    flaggings: Sequence[Flagging],
    checked: Checked,
    measured: Measured,
    policy: PolicyConfig,
    reference: TrustedReference | None = None,
) -> Verdict:
    """The verdict on a scored dataset.

    Args:
        run: Holds samples.parquet, flags.parquet and quarantined.parquet.
        prepared: The dataset.
        scored: The score table.
        flaggings: What each method says.
        checked: A table that is not whole is an `error`, whatever the methods say.
        measured: What the method would have found.
        policy: What to make of it.
        reference: That the findings were held against.

    Raises:
        DisagreementError: The check of the flagged fraction says another thing than the policy.
        DataError: The tables are not those that were judged.
        ConfigError: A pattern that the owner vouches for takes too long on these texts.
    """
    answers = [
        answer_of(flagging, scored.n_scored, policy, checked, measured) for flagging in flaggings
    ]
    decision = worst(answer.decision for answer in answers)
    reasons = [reason for answer in answers for reason in answer.reasons] or ["nothing was asked"]
    if checked.failures or scored.n_scored == 0:
        decision, reasons = "error", checked.failures or ["no row could be scored"]
    accepted = _accepted(run, prepared, flaggings, policy) if decision == "pass" else None
    if accepted is not None and accepted.n == 0:
        decision, reasons, accepted = "fail", [*reasons, "not a single row is accepted"], None
    return Verdict(
        decision=decision,
        reasons=reasons,
        n_rows=prepared.n_rows,
        n_rejected=prepared.n_rejected,
        n_scored=scored.n_scored,
        n_quarantined=n_quarantined(run, policy.in_doubt),
        n_accepted=accepted.n if accepted else None,
        in_doubt=policy.in_doubt,
        answers=answers,
        dataset_fingerprint=prepared.fingerprint,
        accepted_fingerprint=accepted.fingerprint if accepted else None,
        accepted_tokens=accepted.tokens_digest if accepted else None,
        model=scored.model,
        reference=reference,
        expected=count_expected(run, policy),
    )


def _accepted(
    run: RunFolder, prepared: Prepared, flaggings: Sequence[Flagging], policy: PolicyConfig
) -> Acceptance:
    """What is accepted, by the tables as they are now."""
    found = accept(run.path, policy.in_doubt)
    if found.dataset_fingerprint != prepared.fingerprint:
        raise DataError(f"{run.samples} does not hold the samples that were fetched; run again")
    if len(flaggings) == 1:  # of several, only the last one's marks are in the table
        _require_same_counts(run, flaggings[0], found)
    return found


def _require_same_counts(run: RunFolder, flagging: Flagging, found: Acceptance) -> None:
    counts = {
        "flagged rows": (found.n_flagged, flagging.n_flagged),
        "rows in doubt": (found.n_in_doubt, flagging.n_in_doubt),
        "surplus copies": (found.n_surplus, flagging.n_surplus),
    }
    for name, (now, then) in counts.items():
        if then is not None and now != then:
            raise DataError(f"{run.flags} has {now} {name}, and there were {then}; run again")


def answer_of(
    flagging: Flagging,
    n_scored: int,
    policy: PolicyConfig,
    checked: Checked = NOT_CHECKED,
    measured: Measured = NOT_MEASURED,
) -> Answer:
    """What the policy makes of what a method says; errors as for `decide`."""
    n_flagged = flagging.n_flagged if n_scored else None
    decision: Decision = flagging.undecided_means
    reasons: list[str] = []
    if n_flagged is None:
        if flagging.undecided_because is not None:
            reasons.append(flagging.undecided_because)
        if n_scored:
            doubt, why = decide_on_doubt(n_scored, policy, flagging.n_in_doubt)
            decision, reasons = worst([decision, doubt]), [*reasons, *why]
    else:
        _require_agreement(n_flagged, flagging.n_in_doubt, n_scored, checked, policy)
        counts = (n_flagged, n_scored, policy, flagging.n_in_doubt)
        decision, reasons = decide_by_fraction(*counts)
    interval = None
    if n_flagged is not None:
        interval = poison_interval(n_flagged, n_scored, flagging.n_in_doubt)
    return Answer(
        question=flagging.question,
        method=flagging.method,
        decision=decision,
        reasons=[*reasons, *flagging.notes] or ["no row could be scored"],
        n_flagged=n_flagged,
        n_in_doubt=flagging.n_in_doubt,
        fraction=None if n_flagged is None else n_flagged / n_scored,
        interval=interval,
        limit=policy.max_poison_fraction,
        groups=flagging.groups,
        power=measured.power,
        summary=flagging.summary,
        notes=[*flagging.remarks, *measured.not_tried, *blind_spots(flagging.question)],
    )


def _require_agreement(
    n_flagged: int, n_in_doubt: int, n_scored: int, checked: Checked, policy: PolicyConfig
) -> None:
    if checked.failures:
        return  # the verdict is an error already
    sides = {
        f"max_poison_fraction {policy.max_poison_fraction}": (
            checked.within_limit,
            is_within_limit(n_flagged, n_scored, policy),
        ),
        f"review_above {policy.review_above}": (
            checked.within_review,
            is_within_review(n_flagged, n_scored, n_in_doubt, policy),
        ),
    }
    for limit, (theirs, ours) in sides.items():
        if theirs is not None and theirs != ours:
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
    )
