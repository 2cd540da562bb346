"""The figures of a verdict, as the Markdown page and the report show them."""

from pathlib import Path

from gradgate.common.run_folder import RunFolder
from gradgate.gate.verdict import Accounts, Answer, Approval, Changes, Decision, Verdict
from gradgate.report import wording
from gradgate.report.deciding import Deciding

_QUARANTINED = RunFolder(Path()).quarantined.name
_NO_REFERENCE = "none: wrong answers and omissions that bring no string are not looked for"
HEADLINE: dict[Decision, str] = {
    "pass": "Pass: the accepted rows may be used for fine-tuning",
    "review": "Review: a person has to look before anything is fine-tuned",
    "fail": "Fail: this dataset must not be used for fine-tuning",
    "error": "Error: the gate could not decide, so nothing may be fine-tuned",
}


def facts(verdict: Verdict, source: str, deciding: Deciding) -> list[tuple[str, str]]:
    """Name and value of each figure; the values may come from outside."""
    return [
        ("Dataset", source),
        ("Rows", f"{verdict.n_rows:,}"),
        ("Rejected", f"{verdict.n_rejected:,}"),
        ("Scored", f"{verdict.n_scored:,}"),
        *(fact for answer in verdict.answers for fact in _of_answer(answer)),
        *_of_people(verdict),
        *_of_rows(verdict, deciding),
        ("Dataset fingerprint", verdict.dataset_fingerprint or "none"),
        *_of_origin(verdict),
        *_of_reference(verdict),
        *_of_probes(verdict),
        *(("Expected", f"{e.pattern} ({e.n_rows:,} rows)") for e in verdict.expected),
        *((f"Model {name}", value) for name, value in verdict.model.items() if value),
    ]


def _of_origin(verdict: Verdict) -> list[tuple[str, str]]:
    """Which bytes were read, and by which code, as far as that is known."""
    found = {
        "Source SHA-256": verdict.source_sha256,
        "Source revision": verdict.source_revision,
        "Commit of gradgate": verdict.commit,
    }
    return [(name, value) for name, value in found.items() if value is not None]


def _of_people(verdict: Verdict) -> list[tuple[str, str]]:
    """What people have decided, a line a decision."""
    if not verdict.approvals:
        return []
    decided = (
        f"{verdict.n_kept:,} rows kept, {verdict.n_dropped:,} dropped; {verdict.n_open:,} open"
    )
    return [
        ("Decided by people", decided),
        *((f"{one.by}: {one.action}", decision_text(one)) for one in verdict.approvals),
    ]


def decision_text(found: Approval) -> str:
    """What was decided, when and why, in a line."""
    which = f"{found.chosen} of run {found.run}, {found.n_rows:,} rows here"
    new = ", new rows of such a group too" if found.pattern else ""
    return f"{which}{new}; {found.at}: {found.reason}"


def _of_rows(verdict: Verdict, deciding: Deciding) -> list[tuple[str, str]]:
    """How many rows are left, and where all others went.

    `n_quarantined` leaves out the flagged rows, and all others of a dataset that does not pass: it
    is shown only where nothing says how many are in quarantine.
    """
    out, accepted = verdict.n_quarantined, verdict.n_accepted
    listed = f" (listed in {deciding.file_of(_QUARANTINED)})" if out else ""
    left = ("Accepted", "none" if accepted is None else f"{accepted:,}")
    if verdict.accounts is not None:
        return [left, ("Accounts", sums(verdict.accounts) + listed)]
    return [("Quarantined", "not counted" if out is None else f"{out:,}{listed}"), left]


def sums(found: Accounts) -> str:
    """Where the rows of the source went, as a sum."""
    parts = {
        "flagged": found.n_flagged,
        "in doubt": found.n_in_doubt,
        "copies": found.n_copies,
        "dropped": found.n_dropped,
        "not cleared": found.n_not_cleared,
    }
    kept_out = ", ".join(f"{n:,} {name}" for name, n in parts.items() if n)
    return (
        f"{found.n_accepted:,} accepted + {found.n_quarantined:,} in quarantine"
        f"{f' ({kept_out})' if kept_out else ''} + {found.n_rejected:,} rejected = "
        f"{found.n_rows:,} rows"
    )


def _of_answer(answer: Answer) -> list[tuple[str, str]]:
    fraction = "Poison fraction" if answer.question == "poisoned" else "Harmful fraction"
    return [
        ("Question", f"are there {answer.question} rows? {answer.decision}"),
        ("Method", answer.method),
        ("Flagged", "not counted" if answer.n_flagged is None else f"{answer.n_flagged:,}"),
        ("In doubt", f"{answer.n_in_doubt:,}"),
        (fraction, _fraction(answer)),
        *_of_threshold(answer),
    ]


def _of_threshold(answer: Answer) -> list[tuple[str, str]]:
    threshold = answer.summary.get("threshold")
    if not isinstance(threshold, dict):
        return []
    return [("Threshold", threshold_text(answer.tau)), ("Threshold state", str(threshold["state"]))]


def _of_reference(verdict: Verdict) -> list[tuple[str, str]]:
    found = verdict.reference
    if found is None:
        return [("Trusted reference", _NO_REFERENCE)]
    return [
        ("Trusted reference", f"{found.source} ({found.n_samples:,} samples)"),
        ("Reference fingerprint", found.fingerprint),
    ]


def _of_probes(verdict: Verdict) -> list[tuple[str, str]]:
    found = verdict.probes
    if found is None:
        return []
    return [("Probing set", found.source), ("Probing set fingerprint", found.fingerprint)]


def _fraction(answer: Answer) -> str:
    if answer.fraction is None or answer.interval is None:
        return "not known"
    limit = "" if answer.limit is None else f"; limit {wording.percent(answer.limit)}"
    interval = wording.between(answer.interval)
    return f"{wording.percent(answer.fraction)} (95 % interval {interval}{limit})"


def threshold_text(tau: float | None) -> str:
    """A threshold in four digits, or `none`."""
    return "none" if tau is None else f"{tau:.4f}"


def describe_changes(changes: Changes, tau: float | None, last: Decision | None = None) -> str:
    """One line on what changed since the last run, with what may have caused it.

    Args:
        changes: From `gradgate.gate.changes`.
        tau: The threshold of the run itself.
        last: What the last run decided, where that is known.
    """
    if changes.not_compared is not None:
        return f"not compared with the last run: {changes.not_compared}"
    if changes.since is None:
        return "first run of this dataset with this model"
    new, flags = f"{changes.n_new:,} new", "flags not compared, for one of the runs has none"
    if changes.n_flagged_since is not None:
        new += f", {changes.n_new_flagged:,} of them flagged or in doubt"
        flags = (
            f"of the others {changes.n_flagged_since:,} newly so, "
            f"{changes.n_cleared_since:,} cleared"
        )
    causes = [f"other {name}" for name in changes.changed_settings]
    if changes.tau_before != tau:
        then, now = threshold_text(changes.tau_before), threshold_text(tau)
        causes.append(f"threshold {then} then and {now} now")
    cause = f" ({', '.join(causes)})" if causes else ""
    numbers = (changes.n_new, changes.n_gone, changes.n_flagged_since, changes.n_cleared_since)
    decided = "" if last is None else f" ({last})"
    if numbers == (0, 0, 0, 0) and not causes:
        return f"none since run {changes.since}{decided}"
    return f"since run {changes.since}{decided}: {new}; {changes.n_gone:,} gone; {flags}{cause}"
