"""The verdict in Markdown, for people."""

from gradgate.common.escaping import escape
from gradgate.gate.verdict import Answer, Verdict
from gradgate.methods.evidence import Group
from gradgate.power.power import Power
from gradgate.report.about import About, asked, choices_of_all, opening, where_to_type
from gradgate.report.facts import HEADLINE, facts
from gradgate.report.vouching import in_lines

_SHORT, _SHORT_LINE = 3, 200  # reasons of a short description, and characters of each
_MAX_TEXTS = 40  # that the owner may vouch for


def verdict_markdown(verdict: Verdict, source: str, about: About) -> str:
    """The verdict as a Markdown page; text from data and configuration is escaped."""
    rows = facts(verdict, source, about.deciding)
    table = "\n".join(f"| {escape(name)} | {escape(value)} |" for name, value in rows)
    opened = "\n".join(f"- {name}: {escape(value)}" for name, value in opening(verdict, about))
    parts = [
        f"# {HEADLINE[verdict.decision]}",
        opened,
        f"**What is asked of you.** {asked(verdict, about)}",
        *_commands(verdict, about),
        "\n".join(_lines(verdict)),
        f"| | |\n|---|---|\n{table}\n",
    ]
    page = "\n\n".join(parts)
    return page + "".join(_power(answer.power) for answer in verdict.answers if answer.power)


def short_markdown(verdict: Verdict, about: About, link: str | None) -> str:
    """A description in a few lines, without headings.

    Args:
        verdict: It is about.
        about: Which run it is.
        link: Address of the report; taken literally.
    """
    name, headline = HEADLINE[verdict.decision].split(": ", 1)
    to_report = "" if link is None else f" [Open the report]({link})"
    reasons = [f"- {escape(_cut(reason))}" for reason in verdict.reasons[:_SHORT]]
    if len(verdict.reasons) > _SHORT:
        reasons.append(f"- and {len(verdict.reasons) - _SHORT} more reasons")
    said = f"**{name}**: {headline}.{to_report}"
    return "\n".join([said, "", asked(verdict, about), "", *reasons, ""])


def _cut(text: str) -> str:
    return text if len(text) <= _SHORT_LINE else f"{text[:_SHORT_LINE]}…"


def _commands(verdict: Verdict, about: About) -> list[str]:
    """The commands by which a person decides; no line of them ends their block."""
    found = choices_of_all(verdict, about)
    blocks = [f"{choice.label}:\n\n```sh\n{choice.command}\n```" for choice in found]
    return [*blocks, escape(where_to_type(about))] if found else []


def _lines(verdict: Verdict) -> list[str]:
    lines = [f"- Reason: {escape(reason)}" for reason in verdict.reasons]
    for answer in verdict.answers:
        lines += [f"- Figures: {escape(group.in_figures())}" for group in _named(answer)]
        lines += [f"- Note: {escape(note)}" for note in answer.notes]
        if answer.blind_to:
            lines.append(f"- Blind to: {escape(', '.join(answer.blind_to))}")
    return lines + [f"- Yours? {escape(line)}" for line in in_lines(verdict, _MAX_TEXTS)]


def _named(answer: Answer) -> list[Group]:
    """The groups that a reason is about."""
    return [group for group in answer.groups if group.in_a_line() in answer.reasons]


def _power(power: list[Power]) -> str:
    """What the gate would have caught, attack by attack."""
    lines = [
        f"| {escape(p.attack)} | {p.n_detected} of {p.n_planted} | {p.interval[0]:.0%} to "
        f"{p.interval[1]:.0%} | {p.shows_from} |"
        for p in power
    ]
    head = "| Attack planted | Canaries found | 95 % interval | Shows from |\n|---|---|---|---|\n"
    return f"\n## Power\n\n{head}" + "\n".join(lines) + "\n"
