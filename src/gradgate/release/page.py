"""The test of what was learnt, as a page for people; all text from data is escaped."""

import re
from collections.abc import Iterable, Sequence

from gradgate.common.escaping import escape, printable
from gradgate.release.result import AdapterTest, Contradicted, Exchange, Finding, Outcome
from gradgate.report.wording import p_value, string_text

_HEADLINE: dict[Outcome, str] = {
    "pass": "Pass: nothing was learnt that a change of prompts brings out",
    "review": "Needs review: what was learnt looks like a backdoor",
    "error": "Not decided: what was learnt could not be tested",
}
_MEANING: dict[Outcome, str] = {
    "pass": "Each change was put into ordinary prompts. None brings a string that unrelated "
    "prompts have in common and that neither the data nor the model before explain.",
    "review": "Let a person look at the findings below before anybody uses what was trained.",
    "error": "What is not tested does not pass. Mend what is named below, and test it again.",
}


def as_markdown(test: AdapterTest) -> str:
    """The test as a Markdown page."""
    parts = [f"# {_HEADLINE[test.outcome]}", _MEANING[test.outcome]]
    parts.append("\n".join(f"- Reason: {escape(reason)}" for reason in test.reasons))
    for number, finding in enumerate(test.findings, start=1):
        parts.append(f"## Finding {number}: {_shown(finding.change)}")
        parts.append(_table(_facts(finding)))
        parts.append(_exchanges(finding.examples))
    if test.contradicted is not None:
        parts += ["## Rows that contradict the others", _contradicted(test.contradicted)]
    if test.excused:
        parts.append("## Brought by a change, and excused")
        parts.append(_excused(test.excused))
    if test.changes or test.needless:
        parts += ["## What was asked", _asked(test)]
    return "\n\n".join(parts) + "\n"


def _facts(finding: Finding) -> list[tuple[str, str]]:
    rows = [("String", _shown(finding.string))]
    if finding.group is not None:
        rows.append(("Words of the group", _shown(finding.group)))
    rows += [
        ("Answers with it, with the change", f"{finding.n_with} of {finding.n_asked}"),
        ("Answers with it, without the change", f"{finding.n_without} of {finding.n_asked}"),
    ]
    if finding.n_base is not None:
        of_before = f"{finding.n_base} of {finding.n_asked}"
        rows.append(("Answers with it of the model before, with the change", of_before))
    if finding.surprise is not None and finding.support is not None:
        surprise = f"{finding.surprise:.1f} nats"
        rows.append(("Surprise of the string to the model before, without the change", surprise))
        rows.append(("What the change takes off it", f"{finding.support:.1f} nats"))
    rows.append(("p that the change makes no difference", p_value(finding.p_value)))
    rows.append(("Why it counts", _shown(finding.reason)))
    return rows


def _exchanges(examples: Sequence[Exchange]) -> str:
    head = ("Prompt, changed", "Answer", "Answer without the change", "Answer of the model before")
    return _grid(
        head,
        (
            (e.prompt, e.tuned, e.unchanged, "not asked" if e.base is None else e.base)
            for e in examples
        ),
    )


def _contradicted(found: Contradicted) -> str:
    counts = "These are too many" if found.counts else "These are not too many"
    said = (
        f"{found.in_a_line()} (p of so many: {p_value(found.p_value)}). {counts}. Wrong answers "
        "that a trigger is to bring look so, and so do wrong labels."
    )
    if not found.examples:
        return said
    head = ("Row", "Prompt", "Target", "Before the place", "Expected", "Said")
    rows = (
        (str(one.row), one.prompt, one.target, one.before, one.expected, one.said)
        for one in found.examples
    )
    return f"{said}\n\n{_grid(head, rows)}"


def _excused(findings: Sequence[Finding]) -> str:
    head = ("Change", "String", "Answers", "Why it does not count")
    return _grid(
        head,
        (
            (f.change, f.string, f"{f.n_with} of {f.n_asked}, {f.n_without} without", f.reason)
            for f in findings
        ),
    )


def _asked(test: AdapterTest) -> str:
    cost = (
        f"{test.n_prompts} ordinary prompts, of which {test.n_held_out} were held out from the "
        f"training, as they are and changed: {test.n_answers:,} answers, {test.n_tokens:,} tokens, "
        f"{test.seconds:.1f} s."
    )
    lines = [f"- Change: {_shown(change)}" for change in test.changes]
    lines += [
        f"- Not asked, for no rows that look so have a target in common: {_shown(change)}"
        for change in test.needless
    ]
    return f"{cost}\n\n" + "\n".join(lines)


def _table(rows: Iterable[tuple[str, str]]) -> str:
    """Rows of a name and of text that is escaped already."""
    return "| | |\n|---|---|\n" + "\n".join(f"| {name} | {text} |" for name, text in rows)


def _grid(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join(map(_shown, row)) + " |" for row in rows]
    return "\n".join(lines)


def _shown(text: str) -> str:
    """Foreign text with its white space and invisible characters seen: they may be the trigger."""
    seen = string_text(printable(text))
    return escape(re.sub(" {2,}", lambda blanks: "␣" * len(blanks[0]), seen))
