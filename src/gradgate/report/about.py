"""The opening of a page: which run it is about, by which policy, what is asked of the reader."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from gradgate.config import ApprovalsConfig, InDoubt, PolicyConfig
from gradgate.gate.changes import tau_of
from gradgate.gate.verdict import Decision, Verdict
from gradgate.report import wording
from gradgate.report.deciding import Choice, Deciding, choices_of
from gradgate.report.facts import describe_changes
from gradgate.report.in_doubt import MAX_PILES, Pile

_IN_DOUBT: dict[InDoubt, str] = {
    "quarantine": "rows in doubt are left out",
    "keep": "rows in doubt are trained on",
    "block": "any row in doubt needs a review",
}
_ASKED: dict[Decision, str] = {
    "pass": "Nothing is asked of you: the accepted rows may be trained on. The report lists the "
    "rows that were left out.",
    "review": "Read the rows in doubt, group by group: keep what belongs in your data, and drop "
    "what somebody may have put there to teach the model something else. Until you have decided, "
    "nothing may be trained on this dataset.",
    "fail": "Do not train on this dataset: find out how the flagged rows got into it, and remove "
    "them at their source.",
    "error": "The gate could not judge this dataset, so nothing may be trained on it yet. Mend "
    "what the reason below names, and run the gate again.",
}
_OURS = "If they are yours and do no harm, say so by gradgate {}."
_RAW = (
    "The rows are not fit to be judged, so nothing may be trained on them. Mend at their source "
    "what the reason below names, and run the gate again."
)
_NO_ROW = (
    "The gate names no single row: the reason below says what kept it from a pass. Change the "
    "data, the method or the policy accordingly and run it again; until then nothing may be "
    "trained on this dataset."
)


@dataclass(frozen=True)
class About:
    """Which run a page is about.

    Attributes:
        run: Its name.
        files: Where its files are, in words.
        when: When it was decided, in UTC.
        policy: By which.
        deciding: How a person decides on its rows.
        last: What the run decided that it was compared with; None where that is not known.
        in_doubt: The rows in doubt, by what is decided together.
        flagged: The flagged rows, likewise.
    """

    run: str
    files: str
    when: datetime
    policy: PolicyConfig
    deciding: Deciding
    last: Decision | None = None
    in_doubt: Sequence[Pile] = ()
    flagged: Sequence[Pile] = ()

    @property
    def shown(self) -> list[Pile]:
        """The piles that a page shows."""
        return [*self.flagged[:MAX_PILES], *self.in_doubt[:MAX_PILES]]


def opening(verdict: Verdict, about: About) -> list[tuple[str, str]]:
    """Name and value of what a page opens with; the values may come from outside."""
    lines = [
        ("Decided", f"{about.when:%Y-%m-%d %H:%M} UTC"),
        ("Run", about.run),
        ("Files", about.files),
        ("Policy", policy_text(about.policy, verdict)),
    ]
    if verdict.changes is not None:
        changed = describe_changes(verdict.changes, tau_of(verdict), about.last)
        lines.append(("Changes", changed))
    return lines


def asked(verdict: Verdict, about: About) -> str:
    """What the reader is to do now, in a sentence or two."""
    if verdict.decision == "fail" and not verdict.answers:
        return _RAW
    are_named = any(answer.n_flagged or answer.n_in_doubt for answer in verdict.answers)
    if verdict.decision in ("review", "fail") and not are_named:
        return _NO_ROW
    if verdict.decision == "fail" and choices_of_all(verdict, about):
        return f"{_ASKED['fail']} {_OURS.format(about.deciding.by)}"
    return _ASKED[verdict.decision]


def choices_of_all(verdict: Verdict, about: About) -> list[Choice]:
    """The commands that decide on all that a page shows."""
    return choices_of(about.deciding, verdict, about.shown)


def where_to_type(about: About) -> str:
    """What has to be known to use the commands."""
    if about.deciding.by == "restore":
        return "Say why by --reason. The file that is named last is written for the training."
    return (
        "Type one of them where the files are, with your name and your reason. With python -m "
        f"flows in the place of gradgate the run goes on as well. {_who(about.deciding.approvals)}"
    )


def _who(approvals: ApprovalsConfig) -> str:
    if not approvals.who:
        return (
            "Nobody may decide yet: name people in approvals.who of the configuration, and run the "
            "gate again."
        )
    needed = f"; {approvals.needed} of them have to agree" if approvals.needed > 1 else ""
    return f"These may decide: {', '.join(approvals.who)}{needed}."


def policy_text(policy: PolicyConfig, verdict: Verdict) -> str:
    """The policy in a line, as far as it concerns the questions that were asked."""
    limits = {
        "poisoned": (policy.max_poison_fraction, policy.review_above),
        "harmful": (policy.max_harmful_fraction, policy.harmful_review_above),
    }
    questions = [answer.question for answer in verdict.answers] or ["poisoned"]
    parts = [
        f"{question}: fail above {wording.percent(limits[question][0])} flagged, review above "
        f"{wording.percent(limits[question][1])} flagged or in doubt"
        for question in questions
    ]
    parts.append(
        "flagged rows are left out" if policy.flagged == "drop" else "any flagged row fails"
    )
    parts.append(_IN_DOUBT[policy.in_doubt])
    copies = "any number of" if policy.max_copies is None else f"at most {policy.max_copies:,}"
    return "; ".join([*parts, f"{copies} copies of a text"])
