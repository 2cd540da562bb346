"""The verdict in Markdown, for people."""

from gradgate.escaping import escape
from gradgate.verdict import Decision, Verdict

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
        ("Threshold", "none" if verdict.tau is None else f"{verdict.tau:.4f}"),
        ("Threshold state", str((verdict.threshold or {}).get("state", "none"))),
        ("Dataset fingerprint", verdict.dataset_fingerprint or "none"),
        *((f"Model {name}", value) for name, value in verdict.model.items() if value),
    ]
    table = "\n".join(f"| {escape(name)} | {escape(value)} |" for name, value in rows)
    reasons = "\n".join(f"- Reason: {escape(reason)}" for reason in verdict.reasons)
    return f"# {HEADLINE[verdict.decision]}\n\n{reasons}\n\n| | |\n|---|---|\n{table}\n"


def _fraction(verdict: Verdict) -> str:
    if verdict.poison_fraction is None or verdict.poison_interval is None:
        return "not known"
    low, high = verdict.poison_interval
    return f"{verdict.poison_fraction:.2%} (95 % interval {low:.2%} to {high:.2%})"
