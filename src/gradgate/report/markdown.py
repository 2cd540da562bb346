"""The verdict in Markdown, for people."""

from gradgate.common.escaping import escape
from gradgate.gate.changes import tau_of
from gradgate.gate.verdict import Verdict
from gradgate.power.power import Power
from gradgate.report.facts import HEADLINE, describe_changes, facts


def verdict_markdown(verdict: Verdict, source: str) -> str:
    """The verdict as a Markdown page; text from data and configuration is escaped."""
    rows = facts(verdict, source)
    table = "\n".join(f"| {escape(name)} | {escape(value)} |" for name, value in rows)
    text = "\n".join(_lines(verdict))
    page = f"# {HEADLINE[verdict.decision]}\n\n{text}\n\n| | |\n|---|---|\n{table}\n"
    return page + "".join(_power(answer.power) for answer in verdict.answers if answer.power)


def _lines(verdict: Verdict) -> list[str]:
    lines = [f"- Reason: {escape(reason)}" for reason in verdict.reasons]
    for answer in verdict.answers:
        lines += [f"- Note: {escape(note)}" for note in answer.notes]
        if answer.blind_to:
            lines.append(f"- Blind to: {escape(', '.join(answer.blind_to))}")
    if verdict.changes is not None:
        changes = describe_changes(verdict.changes, tau_of(verdict))
        lines.append(f"- Changes: {escape(changes)}")
    return lines


def _power(power: list[Power]) -> str:
    """What the gate would have caught, attack by attack."""
    lines = [
        f"| {escape(p.attack)} | {p.n_detected} of {p.n_planted} | {p.interval[0]:.0%} to "
        f"{p.interval[1]:.0%} | {p.shows_from} |"
        for p in power
    ]
    head = "| Attack planted | Canaries found | 95 % interval | Shows from |\n|---|---|---|---|\n"
    return f"\n## Power\n\n{head}" + "\n".join(lines) + "\n"
