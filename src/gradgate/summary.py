"""The verdict in Markdown, for people."""

from gradgate.escaping import escape
from gradgate.verdict import Changes, Decision, Verdict

HEADLINE: dict[Decision, str] = {
    "pass": "Pass: the accepted rows may be used for fine-tuning",
    "review": "Review: a person has to look before anything is fine-tuned",
    "fail": "Fail: this dataset must not be used for fine-tuning",
    "error": "Error: the gate could not decide, so nothing may be fine-tuned",
}


def verdict_markdown(verdict: Verdict, source: str) -> str:
    """The verdict as a Markdown page; text from data and configuration is escaped."""
    rows = [
        ("Dataset", source),
        ("Rows", f"{verdict.n_rows:,}"),
        ("Rejected", f"{verdict.n_rejected:,}"),
        ("Scored", f"{verdict.n_scored:,}"),
        ("Flagged", "not counted" if verdict.n_flagged is None else f"{verdict.n_flagged:,}"),
        ("Poison fraction", _fraction(verdict)),
        ("Threshold", _tau(verdict.tau)),
        ("Threshold state", str((verdict.threshold or {}).get("state", "none"))),
        ("Dataset fingerprint", verdict.dataset_fingerprint or "none"),
        *((f"Model {name}", value) for name, value in verdict.model.items() if value),
    ]
    table = "\n".join(f"| {escape(name)} | {escape(value)} |" for name, value in rows)
    lines = [f"- Reason: {escape(reason)}" for reason in verdict.reasons]
    if verdict.changes is not None:
        lines.append(f"- Changes: {escape(describe_changes(verdict.changes, verdict.tau))}")
    text = "\n".join(lines)
    return f"# {HEADLINE[verdict.decision]}\n\n{text}\n\n| | |\n|---|---|\n{table}\n"


def describe_changes(changes: Changes, tau: float | None) -> str:
    """One line on what changed since the last run, with what may have caused it.

    Args:
        changes: From `gradgate.changes`.
        tau: The threshold of the run itself.
    """
    if changes.not_compared is not None:
        return f"not compared with the last run: {changes.not_compared}"
    if changes.since is None:
        return "first run of this dataset with this model"
    flags = "flags not compared, for lack of a threshold"
    if changes.n_flagged_since is not None:
        flags = f"{changes.n_flagged_since:,} newly flagged, {changes.n_cleared_since:,} cleared"
    causes = [f"other {name}" for name in changes.changed_settings]
    if changes.tau_before != tau:
        causes.append(f"threshold {_tau(changes.tau_before)} then and {_tau(tau)} now")
    cause = f" ({', '.join(causes)})" if causes else ""
    counts = f"{changes.n_new:,} new, {changes.n_gone:,} gone, {flags}"
    return f"since run {changes.since}: {counts}{cause}"


def _tau(tau: float | None) -> str:
    return "none" if tau is None else f"{tau:.4f}"


def _fraction(verdict: Verdict) -> str:
    if verdict.poison_fraction is None or verdict.poison_interval is None:
        return "not known"
    low, high = verdict.poison_interval
    return f"{verdict.poison_fraction:.2%} (95 % interval {low:.2%} to {high:.2%})"
